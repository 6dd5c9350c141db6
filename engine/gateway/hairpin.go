package gateway

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/wgfleet/wgfleet/engine"
)

// hairpin knows the flows from peer to peer: who began each, so that the answers to what the policy let through
// pass as well.
type hairpin struct {
	mu  sync.RWMutex // protects all
	all map[conversation]*flow
}

// conversation is what the packets of one flow share in one direction. Of ICMP, of other protocols and of a
// fragment that is not the first there are no ports.
type conversation struct {
	protocol engine.Protocol
	src, dst netip.AddrPort
}

func (c conversation) back() conversation { return conversation{c.protocol, c.dst, c.src} }

// pair is what all fragments and ICMP errors between two addresses have in common.
func (c conversation) pair() conversation {
	return conversation{engine.ProtocolAny, netip.AddrPortFrom(c.src.Addr(), 0), netip.AddrPortFrom(c.dst.Addr(), 0)}
}

func (h *hairpin) start() { h.all = make(map[conversation]*flow) }

// find returns the flow of a packet, and whether the packet is an answer.
func (h *hairpin) find(c conversation) (f *flow, answer bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if f = h.all[c]; f != nil {
		return f, false
	}
	f = h.all[c.back()]
	return f, f != nil
}

// add keeps a flow by its conversation, and by its pair of addresses where it is the first of it.
func (h *hairpin) add(c conversation, f *flow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[c] = f
	if h.all[c.pair()] == nil {
		h.all[c.pair()] = f
	}
}

func (h *hairpin) remove(c conversation, f *flow) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[c] == f {
		delete(h.all, c)
	}
	if h.all[c.pair()] == f {
		delete(h.all, c.pair())
	}
}

// turnRound sends a packet of one peer to another.
func (g *Gateway) turnRound(packet []byte, from, to *account, src, dst netip.Addr) {
	c, part := conversationOf(packet, src, dst)
	f, answer := g.hairpin.find(c)
	if f == nil && part {
		f, answer = g.hairpin.find(c.pair())
	}
	if f == nil && !part {
		if f = g.turned(c, from, packet); f == nil {
			return
		}
	}
	if f == nil || !from.pass(len(packet)) || !to.pass(len(packet)) {
		return
	}
	if mtu, _ := g.dev.MTU(); len(packet) > mtu && unfragmentable(packet) {
		g.answer(from, src, packet, unreachable{kind: tooBig, mtu: mtu})
		return
	}
	spendHop(packet)
	if !g.dev.Send(packet) {
		return // the device counts it
	}
	if answer {
		f.toPeer(len(packet))
	} else {
		f.fromPeer(len(packet))
	}
}

// turned begins a flow; nil where it is refused, which the peer was told then.
func (g *Gateway) turned(c conversation, from *account, packet []byte) *flow {
	f := &flow{
		account: from, protocol: c.protocol, direction: engine.DirectionPeer, source: c.src, destination: c.dst, timeout: g.o.Timeouts.Peer,
	}
	f.close = func() { g.hairpin.remove(c, f) }
	if why := g.begin(f); why != "" {
		if policy(why) {
			g.answer(from, c.src.Addr(), packet, unreachable{kind: prohibited})
		}
		return nil
	}
	g.hairpin.add(c, f)
	if f.ended() { // while it was added
		g.hairpin.remove(c, f)
		return nil
	}
	return f
}

// conversationOf reads what a packet belongs to. part: it is only known by its addresses, a fragment that is not the first or
// an ICMP error.
func conversationOf(packet []byte, src, dst netip.Addr) (c conversation, part bool) {
	proto, payload, part := transportOf(packet)
	c = conversation{engine.Protocol(proto), netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)}
	if proto == uint8(header.ICMPv6ProtocolNumber) {
		c.protocol = engine.ProtocolICMP
	}
	switch {
	case part:
	case c.protocol == engine.ProtocolICMP:
		part = len(payload) == 0 || isICMPError(payload[0], src)
	case (c.protocol == engine.ProtocolTCP || c.protocol == engine.ProtocolUDP) && len(payload) >= 4:
		c.src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(payload))
		c.dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(payload[2:]))
	}
	return c, part
}

func isICMPError(kind byte, a netip.Addr) bool {
	if a.Is6() {
		return kind < 128 // RFC 4443, 2.1
	}
	switch header.ICMPv4Type(kind) {
	case header.ICMPv4DstUnreachable, header.ICMPv4SrcQuench, header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
		return true
	}
	return false
}

// transportOf finds the transport header of a packet; part: a fragment that does not begin with it.
func transportOf(packet []byte) (proto uint8, payload []byte, part bool) {
	if header.IPVersion(packet) == header.IPv4Version {
		h := header.IPv4(packet)
		return h.Protocol(), h.Payload(), h.FragmentOffset() != 0
	}
	h := header.IPv6(packet)
	proto, payload = h.NextHeader(), packet[header.IPv6MinimumSize:]
	for len(payload) >= 8 {
		length := 8 + 8*int(payload[1])
		switch header.IPv6ExtensionHeaderIdentifier(proto) {
		case header.IPv6HopByHopOptionsExtHdrIdentifier, header.IPv6RoutingExtHdrIdentifier, header.IPv6DestinationOptionsExtHdrIdentifier:
		case header.IPv6FragmentExtHdrIdentifier:
			length = 8
			if binary.BigEndian.Uint16(payload[2:])>>3 != 0 {
				return payload[0], nil, true
			}
		default:
			return proto, payload, false
		}
		if length > len(payload) {
			break
		}
		proto, payload = payload[0], payload[length:]
	}
	return proto, payload, false
}

// unfragmentable reports whether nobody on the way may cut the packet.
func unfragmentable(packet []byte) bool {
	return header.IPVersion(packet) == header.IPv6Version || header.IPv4(packet).Flags()&header.IPv4FlagDontFragment != 0
}

// spendHop counts one hop, RFC 1812, 5.3.1.
func spendHop(packet []byte) {
	if header.IPVersion(packet) == header.IPv6Version {
		h := header.IPv6(packet)
		h.SetHopLimit(h.HopLimit() - 1)
		return
	}
	h := header.IPv4(packet)
	h.SetTTL(h.TTL() - 1)
	// RFC 1624: the sum of the changed word is patched, the rest stands.
	h.SetChecksum(^checksum.Combine(^h.Checksum(), ^uint16(1<<8)))
}
