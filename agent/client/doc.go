// Package client calls an agent's HTTP API: it signs requests, verifies that answers are the
// agent's own, and turns the bodies into values that are known to be sound.
//
// Towards a wgfleet agent every request carries a nonce and the agent's id, and every answer must be
// signed; once an agent spoke so it is never spoken to in the old way again. Towards the original
// Python agent, which is known by a /health without agent_id, it uses the old signatures and hides
// that dialect's gaps behind the same methods, or says clearly what the original can't do.
//
// It refuses to send private and preshared keys over plain HTTP beyond loopback unless told to,
// follows no redirect, and reads no answer beyond 64 MiB. Units on the wire are those of package
// agent. A Client is safe for concurrent use; calls block until the context ends at the latest.
//
// Every error is an *Error; its Kind says what happened.
package client
