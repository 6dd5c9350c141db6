package gateway

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// errorKind is an ICMP error in both families.
type errorKind struct {
	type4, code4 uint8 // RFC 792, RFC 1812
	type6, code6 uint8 // RFC 4443
}

var (
	noNetwork    = errorKind{3, 0, 1, 0}
	noHost       = errorKind{3, 1, 1, 3}
	noPort       = errorKind{3, 3, 1, 4}
	tooBig       = errorKind{3, 4, 2, 0}
	prohibited   = errorKind{3, 13, 1, 1}
	timeExceeded = errorKind{11, 0, 3, 0}
)

// unreachable is an ICMP error: a router's word on a packet that it did not carry.
type unreachable struct {
	kind  errorKind
	from  netip.Addr // who says it; zero: this node
	mtu   int        // of tooBig
	quote []byte     // the packet from its IP header on, as much as is known
}

// quoted is how much of a packet an error repeats: its headers are what the receiver looks for.
const quoted = 128

// tellPeer sends an ICMP error to an address of a peer, unless it was told much lately.
func (g *Gateway) tellPeer(a *account, to netip.Addr, u unreachable) {
	if !a.errors.Allow() {
		return
	}
	from := u.from
	if !from.IsValid() {
		from = g.speaker(to)
	}
	if !from.IsValid() || from.Is4() != to.Is4() {
		return
	}
	const head = header.ICMPv4MinimumSize // of both
	message := make([]byte, head, head+len(u.quote))
	if to.Is4() {
		message[0], message[1] = u.kind.type4, u.kind.code4
		binary.BigEndian.PutUint16(message[6:], uint16(u.mtu))
	} else {
		message[0], message[1] = u.kind.type6, u.kind.code6
		binary.BigEndian.PutUint32(message[4:], uint32(u.mtu))
	}
	g.icmpMessage(from, to, append(message, u.quote...))
}

// speaker is the node's own address of the family of to; zero where it has none.
func (g *Gateway) speaker(to netip.Addr) netip.Addr {
	for _, p := range g.own {
		if p.Addr().Is4() == to.Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// quote copies the beginning of an IP packet.
func quote(packet []byte) []byte {
	return append([]byte(nil), packet[:min(len(packet), quoted)]...)
}

// quoteOf copies the headers of a packet in the stack.
func quoteOf(pkt *stack.PacketBuffer) []byte {
	out := append([]byte(nil), pkt.NetworkHeader().Slice()...)
	return append(out, pkt.TransportHeader().Slice()...)
}

// quoteUDP makes up the beginning of a datagram that a peer sent a while ago.
func quoteUDP(src, dst netip.AddrPort) []byte {
	udp := header.UDP(make([]byte, header.UDPMinimumSize))
	udp.Encode(&header.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: header.UDPMinimumSize})
	return append(quoteIP(src.Addr(), dst.Addr(), header.UDPProtocolNumber, len(udp)), udp...)
}

// quoteIP makes up an IP header.
func quoteIP(src, dst netip.Addr, proto tcpip.TransportProtocolNumber, length int) []byte {
	from, to := tcpip.AddrFromSlice(src.AsSlice()), tcpip.AddrFromSlice(dst.AsSlice())
	if src.Is4() {
		h := header.IPv4(make([]byte, header.IPv4MinimumSize))
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(h) + length), TTL: replyTTL, Protocol: uint8(proto), SrcAddr: from, DstAddr: to,
		})
		h.SetChecksum(^h.CalculateChecksum())
		return h
	}
	h := header.IPv6(make([]byte, header.IPv6MinimumSize))
	h.Encode(&header.IPv6Fields{
		PayloadLength: uint16(length), TransportProtocol: proto, HopLimit: replyTTL, SrcAddr: from, DstAddr: to,
	})
	return h
}
