// Package fleet runs a whole fleet inside one process: a panel, nodes on netstack, and clients made
// of upstream's wireguard-go. Everything between them is real: HTTP on loopback, WireGuard over
// UDP, TCP inside the tunnels. The demo shows it, end-to-end tests and benchmarks measure it.
//
// It refuses privileges and leaves no file: all state is in one temporary folder that Close
// removes. A Fleet is safe for concurrent use once Start has returned.
package fleet
