// Package userspace drives WireGuard with wireguard-go inside this process: on gVisor's netstack,
// which needs no privileges ([NewNetstack]), or on a TUN interface ([NewTUN]).
//
// Go code has sockets inside the tunnel of a netstack device by (*Backend).Net: listen, dial, and hand the
// dialer to net/http or whatever else takes one. With Options.Gateway its peers also reach what this host reaches.
//
// It owns the interfaces that it created, their UDP sockets, goroutines and UAPI sockets, and
// nothing else: an interface of somebody else is never touched, a live name is refused. Every write
// of configuration passes through it, those of wg(8) on the UAPI socket included, so its devices
// are engine.Owned. Addresses and MTU of a TUN can be changed by ip(8) without the revision moving: they are
// engine.Hosted.
//
// Units are those of engine. Backend and Device are safe for concurrent use. Close waits for the
// calls that run. Errors are those of engine, wrapped with the interface's name.
package userspace
