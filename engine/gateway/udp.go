package gateway

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wgfleet/wgfleet/engine"
)

// handleUDP gets the datagrams that no socket here waits for, put together from their fragments. Where it returns false
// the stack answers that the port is unreachable.
func (g *Gateway) handleUDP(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	src, dst := addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)
	if g.isOwn(dst.Addr()) || dst.Port() == 0 {
		return false
	}
	head, payload := header.UDP(pkt.TransportHeader().Slice()), pkt.Data().AsRange().ToSlice()
	sum := func() uint16 { return checksum.Checksum(payload, 0) }
	lengthValid, sumValid := header.UDPValid(head, sum, uint16(len(payload)), pkt.NetworkProtocolNumber, id.RemoteAddress, id.LocalAddress, false)
	if !lengthValid || !sumValid {
		return true // the stack's own sockets would not take it either
	}
	payload = payload[:head.Length()-header.UDPMinimumSize]
	g.through(mapKey{engine.ProtocolUDP, src}, dst, payload, quoteOf(pkt), g.udpTimeout(dst.Port()))
	return true
}

// udpTimeout is shorter for DNS alone, though RFC 4787, REQ-5 a allows that of every well-known port.
func (g *Gateway) udpTimeout(port uint16) time.Duration {
	if port == dnsPort {
		return g.o.Timeouts.DNS
	}
	return g.o.Timeouts.UDP
}
