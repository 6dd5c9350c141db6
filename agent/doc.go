// Package agent holds what the two ends of the agent's HTTP API share: wire types, error codes,
// signing and verifying of requests (v1, the original agent's, and v2, with nonce and node) and of
// answers. It has no server and no client: those are agent/server and agent/client.
//
// Units on the wire: seconds (Unix time, keepalive), bytes. Functions are pure and safe for
// concurrent use. Errors are the Err values of sign.go and *Error, which is what an agent answers.
package agent
