// Package network makes WireGuard networks inside one process: real nodes on engine/userspace's netstack backend, real handshakes and
// packets, over UDP in memory. It needs no privilege, no socket and no port of the host, so that a test of anything
// that speaks TCP or UDP can run over WireGuard as hermetically as over net.Pipe.
//
// [Start] makes a network for as long as a test runs, [New] makes one elsewhere. Its nodes listen and dial as package net
// does. A [Wire] alone is the UDP between devices that are made by hand.
//
// It owns the nodes and the wire between them; Close, or the end of the test that Start was given, ends all of it. It refuses
// nothing that WireGuard takes: each node's Device can be observed and configured like any other, and Cut parts two nodes.
// Nothing is lost or late but by a Cut, or where 1024 datagrams wait for one node.
//
// A Network, its nodes and a Wire are safe for concurrent use. Node i has the addresses 10.0.0.(i+1) and fd00::(i+1), up to 250
// nodes. Errors are those of engine, wrapped.
package network
