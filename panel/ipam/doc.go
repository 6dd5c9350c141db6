// Package ipam gives out host addresses from pools. It is pure: it owns no state, and who is given
// an address must record that itself.
//
// The first usable address of a pool is the node's own and is never given out, neither are an IPv4
// pool's network and broadcast addresses nor the zero address of an IPv6 one (the subnet-router
// anycast address, RFC 4291), except in pools of two, where both are hosts (RFC 3021, RFC 6164).
// The cost grows with the number of used prefixes, never with the size of the pool.
//
// Functions are safe for concurrent use. The one error is ErrExhausted, wrapped with the pool.
package ipam
