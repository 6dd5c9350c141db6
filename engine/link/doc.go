// Package link does what wg-quick(8) does around a WireGuard interface: addresses, MTU, routes and
// default routes with their rules and firewall, resolvers, all by the kernel's own interfaces; it adds
// forwarding and masquerading; and it runs the hooks of an interface, the only other programs that the
// engine starts.
//
// It refuses to take what is not its own: an address or a route that another link has, routes that it
// did not set, rules and firewall tables that neither it nor wg-quick made. It works in the network
// namespace of the calling thread.
//
// MTU is in bytes. All functions are safe for concurrent use. Errors: engine.ErrUnknownInterface,
// engine.ErrAddressInUse, engine.ErrNotPermitted, *engine.FieldError for a setting that can't be, else
// the kernel's, wrapped with what was tried.
package link
