package gateway

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wgfleet/wgfleet/engine"
)

// handleEcho gets ICMP and ICMPv6 messages. Where it returns false the stack deals with them: it answers echo requests to
// the node's own addresses.
func (g *Gateway) handleEcho(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	src, dst := addrPort(id.RemoteAddress, 0).Addr(), addrPort(id.LocalAddress, 0).Addr()
	head := pkt.TransportHeader().Slice()
	if g.isOwn(dst) || len(head) < header.ICMPv4MinimumSize {
		return false
	}
	if src.Is4() && header.ICMPv4(head).Type() != header.ICMPv4Echo || src.Is6() && header.ICMPv6(head).Type() != header.ICMPv6EchoRequest {
		return true // all else is about connections of the host, which are none of the peer's
	}
	message := append(append([]byte(nil), head...), pkt.Data().AsRange().ToSlice()...)
	key := mapKey{engine.ProtocolICMP, netip.AddrPortFrom(src, echoID(message))}
	g.through(key, netip.AddrPortFrom(dst, 0), message, quoteOf(pkt), g.o.Timeouts.ICMP)
	return true
}

func echoID(message []byte) uint16 { return binary.BigEndian.Uint16(message[4:]) }

func setEchoID(message []byte, id uint16) { binary.BigEndian.PutUint16(message[4:], id) }

func isEchoReply(from netip.Addr, message []byte) bool {
	want := byte(header.ICMPv4EchoReply)
	if from.Is6() {
		want = byte(header.ICMPv6EchoReply)
	}
	return len(message) >= header.ICMPv4MinimumSize && message[0] == want
}

// quoteEcho makes up the beginning of an echo request that a peer sent a while ago; its sequence number is
// not known any more.
func quoteEcho(src netip.AddrPort, dst netip.Addr) []byte {
	message := make([]byte, header.ICMPv4MinimumSize)
	proto := header.ICMPv4ProtocolNumber
	message[0] = byte(header.ICMPv4Echo)
	if dst.Is6() {
		message[0], proto = byte(header.ICMPv6EchoRequest), header.ICMPv6ProtocolNumber
	}
	setEchoID(message, src.Port())
	return append(quoteIP(src.Addr(), dst, proto, len(message)), message...)
}
