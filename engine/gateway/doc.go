// Package gateway carries the packets of an interface's peers to whatever this host can reach, and back,
// without any privilege: a network address translator above a netstack device. TCP is dialled first
// and its handshake completed after, UDP and ICMP echo are mapped as RFC 4787 and RFC 5508 ask, packets
// from peer to peer turn round below the stack, and ports of the host lead to peers.
//
// It owns the host's sockets that it opens, one for each flow or mapping, and the flows' goroutines; Close
// ends them all. It refuses what the access policy refuses, and whatever is beyond a peer's limits: the newest
// flow is refused, none that runs is ended for another. It trusts that a packet's source belongs to the peer that
// WireGuard took it from, and that the device has checked its sums.
//
// Units: bytes of payload, seconds where a time.Duration does not say it. A Gateway is safe for concurrent use.
// Errors of the host's network reach the peer as a network would tell them (reset, ICMP unreachable, or silence)
// and are counted; only New returns one.
package gateway
