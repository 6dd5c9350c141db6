// Package engine holds the nouns of wgfleet ([Interface], [Peer], [State], [Changes]) and the pure
// functions on them: [Normalize], [Validate], [Digest], [Diff]. It also defines the [Backend] contract that
// every way of driving WireGuard implements, and [Apply], the one path by which a device is changed.
//
// Who uses it takes a backend from a package beside it (userspace, kernel, or the fake one of enginetest), gets a
// [Device] from its Create or Attach, reads it with Observe, and goes on as [Apply] and [Diff] show: what is there and
// what is wanted, both through [Normalize] (an observation is so already), the wanted through [Validate], the difference
// into Apply. A Device whose backend can do more is also an [Owned], a [Fingerprinter], a [Greeter] or a [Gateway]: assert
// for it.
//
// It refuses what WireGuard would take silently: the same allowed IP on two peers, a peer with the
// interface's own key, values out of range. It never prints a private or preshared key: those
// travel as SecretKey.
//
// Units: keepalive in seconds, MTU in bytes, counters in bytes. Values are plain data and safe to
// share once nobody writes them; Device implementations are safe for concurrent use.
//
// Errors are [ErrUnknownInterface] and those beside it, [*FieldError], [*ConflictError] and [*ApplyError], mostly wrapped: use
// errors.Is and errors.As.
package engine
