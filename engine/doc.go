// Package engine holds the nouns of wgfleet (Interface, Peer, State, Changes) and the pure
// functions on them: Normalize, Validate, Digest, Diff. It also defines the Backend contract that
// every way of driving WireGuard implements, and Apply, the one path by which a device is changed.
//
// It refuses what WireGuard would take silently: the same allowed IP on two peers, a peer with the
// interface's own key, values out of range. It never prints a private or preshared key: those
// travel as SecretKey.
//
// Units: keepalive in seconds, MTU in bytes, counters in bytes. Values are plain data and safe to
// share once nobody writes them; Device implementations are safe for concurrent use.
//
// Errors are the sentinels and types of errors.go; use errors.Is and errors.As.
package engine
