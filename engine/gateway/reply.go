package gateway

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/wgfleet/wgfleet/engine/netstack"
)

// replyTTL is what a host sends with (RFC 1700's default, and Linux's).
const replyTTL = 64

// transportPacket sends a transport header and its payload to a peer as if from came from the network. The stack cuts
// what is larger than the MTU into fragments, as the sender's own host would have.
func (g *Gateway) transportPacket(from, to netip.Addr, proto tcpip.TransportProtocolNumber, head []byte, payload []byte) {
	network := networkOf(to)
	r, err := g.stack.FindRoute(netstack.NIC, tcpip.AddrFromSlice(from.AsSlice()), tcpip.AddrFromSlice(to.AsSlice()), network, false)
	if err != nil {
		return // the device is closed: nobody waits for it any more
	}
	defer r.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: len(head) + int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(payload),
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = proto
	copy(pkt.TransportHeader().Push(len(head)), head)
	_ = r.WritePacket(stack.NetworkHeaderParams{Protocol: proto, TTL: replyTTL}, pkt) // lost as any packet may be: the device counts it
}

func networkOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// datagram sends UDP to a peer.
func (g *Gateway) datagram(from, to netip.AddrPort, payload []byte) {
	h := header.UDP(make([]byte, header.UDPMinimumSize))
	length := uint16(len(h) + len(payload))
	h.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: length})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber,
		tcpip.AddrFromSlice(from.Addr().AsSlice()), tcpip.AddrFromSlice(to.Addr().AsSlice()), length)
	sum = ^h.CalculateChecksum(checksum.Checksum(payload, sum))
	if sum == 0 {
		sum = 0xffff // RFC 768: a sum of zero is sent as all ones
	}
	h.SetChecksum(sum)
	g.transportPacket(from.Addr(), to.Addr(), header.UDPProtocolNumber, h, payload)
}

// icmpMessage sends ICMP or ICMPv6 to a peer: its whole message, whose checksum is made here.
func (g *Gateway) icmpMessage(from, to netip.Addr, message []byte) {
	const head = header.ICMPv4MinimumSize // of both
	if to.Is4() {
		h := header.ICMPv4(message)
		h.SetChecksum(0)
		h.SetChecksum(^checksum.Checksum(message, 0))
		g.transportPacket(from, to, header.ICMPv4ProtocolNumber, message[:head], message[head:])
		return
	}
	h := header.ICMPv6(message)
	h.SetChecksum(0)
	h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: h, Src: tcpip.AddrFromSlice(from.AsSlice()), Dst: tcpip.AddrFromSlice(to.AsSlice()),
	}))
	g.transportPacket(from, to, header.ICMPv6ProtocolNumber, message[:head], message[head:])
}
