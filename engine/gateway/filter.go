package gateway

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// filter sees each packet before the stack does, and takes those that are not for the stack: what goes to another
// peer, and what has come to the end of its hops.
func (g *Gateway) filter(packet []byte) bool {
	src, dst, ok := addresses(packet)
	if !ok || g.isOwn(dst) {
		return false
	}
	from, known := g.peers.lookup(src)
	if !known {
		return true // its peer was removed while it was under way
	}
	if hops(packet) <= 1 {
		g.answer(from, src, packet, unreachable{kind: timeExceeded})
		return true
	}
	to, known := g.peers.lookup(dst)
	switch {
	case known && to != from: // what a peer has itself is not sent back to it: a peer may have 0.0.0.0/0
		g.turnRound(packet, from, to, src, dst)
		return true
	case !known && g.isInside(dst):
		g.answer(from, src, packet, unreachable{kind: noHost})
		return true
	}
	if isFragment(packet) && !from.parts.Allow() {
		from.refuse(RefusedFragments)
		return true
	}
	return false
}

// answer tells a peer what became of a packet, unless that is an ICMP error itself, or a fragment that is not the first (RFC 1122,
// 3.2.2).
func (g *Gateway) answer(a *account, src netip.Addr, packet []byte, u unreachable) {
	if _, part := conversationOf(packet, src, src); part {
		return
	}
	u.quote = quote(packet)
	g.tellPeer(a, src, u)
}

// isFragment reports whether a packet is a part of one. Where IPv6 has other headers in front of that of fragments, the
// answer is yes as well.
func isFragment(packet []byte) bool {
	if header.IPVersion(packet) == header.IPv4Version {
		h := header.IPv4(packet)
		return h.More() || h.FragmentOffset() != 0
	}
	switch tcpip.TransportProtocolNumber(header.IPv6(packet).NextHeader()) {
	case header.TCPProtocolNumber, header.UDPProtocolNumber, header.ICMPv6ProtocolNumber:
		return false
	}
	return true
}

// addresses are those of a whole IP packet.
func addresses(packet []byte) (src, dst netip.Addr, ok bool) {
	switch header.IPVersion(packet) {
	case header.IPv4Version:
		h := header.IPv4(packet)
		return netip.AddrFrom4(h.SourceAddress().As4()), netip.AddrFrom4(h.DestinationAddress().As4()), true
	case header.IPv6Version:
		h := header.IPv6(packet)
		return netip.AddrFrom16(h.SourceAddress().As16()), netip.AddrFrom16(h.DestinationAddress().As16()), true
	}
	return src, dst, false
}

func hops(packet []byte) uint8 {
	if header.IPVersion(packet) == header.IPv4Version {
		return header.IPv4(packet).TTL()
	}
	return header.IPv6(packet).HopLimit()
}
