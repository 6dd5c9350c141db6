// Package link does by netlink what wg-quick(8) does around a WireGuard interface: addresses, MTU,
// up, routes; and it runs the hooks of an interface, the only other programs that the engine starts.
//
// It refuses to take what is not its own: routes that it did not set stay, addresses that the
// kernel made stay. It works in the network namespace of the calling thread.
//
// MTU is in bytes. All functions are safe for concurrent use. Errors: engine.ErrUnknownInterface,
// engine.ErrNotPermitted, else the kernel's, wrapped with what was tried.
package link
