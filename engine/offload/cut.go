package offload

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// HeaderSize is that of the virtio_net_hdr in front of each packet (linux/virtio_net.h).
const HeaderSize = 10

// ErrMalformed is a packet that its virtio_net_hdr does not describe.
var ErrMalformed = errors.New("a packet with a virtio_net_hdr that does not fit it")

// virtioHeader is struct virtio_net_hdr, in the host's byte order.
type virtioHeader struct {
	flags, gso                                 uint8
	headers, gsoSize, checksumAt, checksumSkip uint16
}

func parseHeader(b []byte) virtioHeader {
	return virtioHeader{
		b[0], b[1], binary.NativeEndian.Uint16(b[2:]), binary.NativeEndian.Uint16(b[4:]),
		binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint16(b[8:]),
	}
}

// Cutter gives the packets of one read of a TUN, one by one.
type Cutter struct {
	packet  []byte // what is left of it begins at next; nil: nothing
	next    int
	ip      int // length of the IP header
	headers int // length of both; 0: the packet is whole
	size    int // of a segment's payload
	pseudo  uint16
}

// Begin takes a virtio_net_hdr and the packet behind it, which the Cutter changes and holds until Empty. Errors: ErrMalformed.
func (c *Cutter) Begin(b []byte) error {
	*c = Cutter{}
	if len(b) < HeaderSize+header.IPv4MinimumSize {
		return ErrMalformed
	}
	h, packet := parseHeader(b), b[HeaderSize:]
	if h.gso == unix.VIRTIO_NET_HDR_GSO_NONE {
		if h.flags&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 && !finish(packet, int(h.checksumAt), int(h.checksumSkip)) {
			return ErrMalformed
		}
		c.packet = packet
		return nil
	}
	if !c.parse(h, packet) {
		return ErrMalformed
	}
	c.packet, c.next = packet, c.headers
	return nil
}

// finish makes the checksum at a place of what begins at from: what stands there is the sum of the pseudo-header. As the
// kernel's own skb_checksum_help, it writes no 0: in UDP over IPv6 that is a packet to discard (RFC 8200, 8.1).
func finish(packet []byte, from, skip int) bool {
	at := from + skip
	if at+2 > len(packet) {
		return false
	}
	sum := binary.BigEndian.Uint16(packet[at:])
	binary.BigEndian.PutUint16(packet[at:], 0)
	binary.BigEndian.PutUint16(packet[at:], notZero(^checksum.Checksum(packet[from:], sum)))
	return true
}

// notZero is the same sum in ones' complement, written so that it does not mean "none".
func notZero(sum uint16) uint16 {
	if sum == 0 {
		return 0xffff
	}
	return sum
}

// parse finds the headers of a large packet. The length in the virtio_net_hdr is not trusted: of packets that are forwarded it is
// that of the whole.
func (c *Cutter) parse(h virtioHeader, packet []byte) bool {
	c.ip, c.size = int(h.checksumAt), int(h.gsoSize)
	var src, dst tcpip.Address
	switch header.IPVersion(packet) {
	case header.IPv4Version:
		ip := header.IPv4(packet)
		if c.ip != int(ip.HeaderLength()) || c.ip < header.IPv4MinimumSize || h.gso == unix.VIRTIO_NET_HDR_GSO_TCPV6 {
			return false
		}
		src, dst = ip.SourceAddress(), ip.DestinationAddress()
	case header.IPv6Version:
		if c.ip < header.IPv6MinimumSize || len(packet) < header.IPv6MinimumSize || h.gso == unix.VIRTIO_NET_HDR_GSO_TCPV4 {
			return false
		}
		ip := header.IPv6(packet)
		src, dst = ip.SourceAddress(), ip.DestinationAddress()
	default:
		return false
	}
	proto := header.TCPProtocolNumber
	switch h.gso {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6:
		if len(packet) < c.ip+header.TCPMinimumSize {
			return false
		}
		c.headers = c.ip + int(header.TCP(packet[c.ip:]).DataOffset())
		if c.headers < c.ip+header.TCPMinimumSize {
			return false
		}
	case unix.VIRTIO_NET_HDR_GSO_UDP_L4:
		c.headers, proto = c.ip+header.UDPMinimumSize, header.UDPProtocolNumber
	default:
		return false
	}
	c.pseudo = header.PseudoHeaderChecksum(proto, src, dst, 0)
	return c.headers < len(packet) && c.size > 0
}

// Empty reports whether Next has nothing more to give.
func (c *Cutter) Empty() bool { return c.packet == nil }

// Next writes the next packet and returns its size; 0: it does not fit, and is lost.
func (c *Cutter) Next(to []byte) int {
	if c.headers == 0 {
		packet := c.packet
		c.packet = nil
		if len(packet) > len(to) {
			return 0
		}
		return copy(to, packet)
	}
	end := min(c.next+c.size, len(c.packet))
	size := c.headers + end - c.next
	if size > len(to) {
		c.packet = nil
		return 0
	}
	to = to[:size]
	copy(to, c.packet[:c.headers])
	copy(to[c.headers:], c.packet[c.next:end])
	last := end == len(c.packet)
	c.address(to, last)
	c.next = end
	if last {
		c.packet = nil
	}
	return size
}

// address makes the headers those of one segment, and those of the template ready for the next one.
func (c *Cutter) address(packet []byte, last bool) {
	transport := packet[c.ip:]
	if header.IPVersion(packet) == header.IPv4Version {
		h, template := header.IPv4(packet), header.IPv4(c.packet)
		h.SetTotalLength(uint16(len(packet)))
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
		template.SetID(template.ID() + 1)
	} else {
		header.IPv6(packet).SetPayloadLength(uint16(len(packet) - header.IPv6MinimumSize))
	}
	pseudo := checksum.Combine(c.pseudo, uint16(len(transport)))
	if c.headers == c.ip+header.UDPMinimumSize {
		h := header.UDP(transport)
		h.SetLength(uint16(len(transport)))
		h.SetChecksum(0)
		h.SetChecksum(notZero(^checksum.Checksum(transport, pseudo))) // RFC 768
		return
	}
	h, template := header.TCP(transport), header.TCP(c.packet[c.ip:])
	if !last {
		h.SetFlags(uint8(h.Flags() &^ (header.TCPFlagFin | header.TCPFlagPsh)))
	}
	template.SetSequenceNumber(template.SequenceNumber() + uint32(len(packet)-c.headers))
	template.SetFlags(uint8(template.Flags() &^ tcpFlagCWR)) // of the first one alone, RFC 3168
	h.SetChecksum(0)
	h.SetChecksum(^checksum.Checksum(transport, pseudo))
}

const tcpFlagCWR = header.TCPFlags(0x80)
