package netstack

import (
	"bytes"
	"math"
	"math/bits"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// joiner puts TCP segments together that follow each other in one flow and arrive in one batch (what Linux does with
// GRO), so that the stack handles them as one. Each flow's packets stay in their order.
type joiner struct {
	segments [batchSize]segment
	groups   [batchSize]group
	count    int // of segments
	grouped  int // of groups
}

// segment is a packet of the batch and what was read from it.
type segment struct {
	packet []byte
	ip     int // length of the IP header; 0: it is no TCP that could be joined
	head   int // length of both headers
	next   int // of the same group; -1: none
	sum    uint16
}

func (s *segment) tcp() header.TCP { return header.TCP(s.packet[s.ip:]) }
func (s *segment) payload() []byte { return s.packet[s.head:] }

// group is one packet for the stack.
type group struct {
	first, last int
	size        int    // of the joined packet
	sequence    uint32 // that follows
	sum         uint16 // of the payload
	open        bool   // more may be joined
	checked     bool   // the sum of the first segment was right
}

// full reports whether there is room for no more.
func (j *joiner) full() bool { return j.count == batchSize }

// add takes a packet, which must stay as it is until the flush.
func (j *joiner) add(packet []byte) {
	i := j.count
	s := &j.segments[i]
	*s = segment{packet: packet, next: -1}
	j.count++
	more := s.parse()
	if s.ip > 0 {
		if g := j.find(s); g != nil {
			if more && j.join(g, i) {
				return
			}
			g.open = false
		}
	}
	g := &j.groups[j.grouped]
	*g = group{first: i, last: i, size: len(packet), open: more}
	if more {
		g.sequence = s.tcp().SequenceNumber() + uint32(len(s.payload()))
		g.open = s.tcp().Flags()&header.TCPFlagPsh == 0
	}
	j.grouped++
}

// parse reads the headers; ip stays 0 for what is not plain TCP. It reports whether others may be joined with it: data that
// nothing is special of.
func (s *segment) parse() bool {
	var ip int
	if header.IPVersion(s.packet) == header.IPv4Version {
		h := header.IPv4(s.packet)
		ip = int(h.HeaderLength())
		if tcpip.TransportProtocolNumber(h.Protocol()) != header.TCPProtocolNumber || h.More() || h.FragmentOffset() != 0 {
			return false
		}
	} else {
		ip = header.IPv6MinimumSize
		if tcpip.TransportProtocolNumber(header.IPv6(s.packet).NextHeader()) != header.TCPProtocolNumber {
			return false
		}
	}
	if len(s.packet) < ip+header.TCPMinimumSize {
		return false
	}
	t := header.TCP(s.packet[ip:])
	head := ip + int(t.DataOffset())
	if t.DataOffset() < header.TCPMinimumSize || head > len(s.packet) {
		return false
	}
	s.ip, s.head = ip, head
	plain := ip == header.IPv4MinimumSize || header.IPVersion(s.packet) == header.IPv6Version
	return plain && len(s.payload()) > 0 && t.Flags()&^header.TCPFlagPsh == header.TCPFlagAck
}

// find returns the newest group of the same flow, if it is open.
func (j *joiner) find(s *segment) *group {
	for i := j.grouped - 1; i >= 0; i-- {
		g := &j.groups[i]
		if !j.segments[g.first].sameFlow(s) {
			continue
		}
		if g.open {
			return g
		}
		return nil
	}
	return nil
}

func (s *segment) sameFlow(o *segment) bool {
	const ports = 4
	if s.ip == 0 || s.ip != o.ip || !bytes.Equal(s.packet[s.ip:s.ip+ports], o.packet[o.ip:o.ip+ports]) {
		return false
	}
	if header.IPVersion(s.packet) == header.IPv4Version {
		return header.IPVersion(o.packet) == header.IPv4Version && bytes.Equal(s.packet[12:20], o.packet[12:20])
	}
	return header.IPVersion(o.packet) == header.IPv6Version && bytes.Equal(s.packet[8:40], o.packet[8:40])
}

// join adds segment i to a group where it continues it.
func (j *joiner) join(g *group, i int) bool {
	first, s := &j.segments[g.first], &j.segments[i]
	n := len(s.payload())
	if s.tcp().SequenceNumber() != g.sequence || n > len(first.payload()) || g.size+n > math.MaxUint16 || !first.sameHeaders(s) {
		return false
	}
	if !g.checked {
		if !first.check() {
			return false
		}
		g.checked, g.sum = true, first.sum
	}
	if !s.check() {
		return false
	}
	g.sum = addSum(g.sum, s.sum, g.size-first.head)
	j.segments[g.last].next, g.last = i, i
	g.size += n
	g.sequence += uint32(n)
	g.open = n == len(first.payload()) && s.tcp().Flags()&header.TCPFlagPsh == 0
	return true
}

// addSum adds the sum of what begins at an offset to the sum of what is before it.
func addSum(sum, more uint16, offset int) uint16 {
	if offset%2 != 0 {
		more = bits.ReverseBytes16(more)
	}
	return checksum.Combine(sum, more)
}

// sameHeaders reports whether two segments of a flow differ in nothing but their place in it.
func (s *segment) sameHeaders(o *segment) bool {
	if s.head != o.head {
		return false
	}
	if header.IPVersion(s.packet) == header.IPv4Version {
		// Type of service; don't fragment; time to live.
		if s.packet[1] != o.packet[1] || s.packet[6] != o.packet[6] || s.packet[8] != o.packet[8] {
			return false
		}
	} else if !bytes.Equal(s.packet[:4], o.packet[:4]) || s.packet[7] != o.packet[7] {
		return false
	}
	a, b := s.tcp(), o.tcp()
	return a.AckNumber() == b.AckNumber() && a.WindowSize() == b.WindowSize() &&
		bytes.Equal(s.packet[s.ip+header.TCPMinimumSize:s.head], o.packet[o.ip+header.TCPMinimumSize:o.head])
}

// check reports whether the checksum is right, and keeps that of the payload.
func (s *segment) check() bool {
	s.sum = checksum.Checksum(s.payload(), 0)
	whole := checksum.Combine(s.pseudo(len(s.packet)-s.ip), checksum.Checksum(s.packet[s.ip:s.head], s.sum))
	return whole == 0xffff
}

// pseudo is the sum of the pseudo-header for a segment of that length.
func (s *segment) pseudo(length int) uint16 {
	var src, dst tcpip.Address
	if header.IPVersion(s.packet) == header.IPv4Version {
		h := header.IPv4(s.packet)
		src, dst = h.SourceAddress(), h.DestinationAddress()
	} else {
		h := header.IPv6(s.packet)
		src, dst = h.SourceAddress(), h.DestinationAddress()
	}
	return header.PseudoHeaderChecksum(header.TCPProtocolNumber, src, dst, uint16(length))
}

// flush delivers all groups in the order of their first packets.
func (j *joiner) flush(l *link) {
	for i := range j.groups[:j.grouped] {
		g := &j.groups[i]
		view := buffer.NewViewSize(g.size)
		j.copy(g, view.AsSlice())
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(view)})
		pkt.NetworkProtocolNumber = ipv4.ProtocolNumber
		if header.IPVersion(view.AsSlice()) == header.IPv6Version {
			pkt.NetworkProtocolNumber = ipv6.ProtocolNumber
		}
		l.deliver(pkt)
	}
	clear(j.segments[:j.count]) // the packets are wireguard-go's
	j.count, j.grouped = 0, 0
}

// copy writes the joined packet of a group.
func (j *joiner) copy(g *group, to []byte) {
	first := &j.segments[g.first]
	n := copy(to, first.packet)
	for i := first.next; i >= 0; i = j.segments[i].next {
		n += copy(to[n:], j.segments[i].payload())
	}
	if g.first == g.last {
		return
	}
	setIPLength(to)
	if header.IPVersion(to) == header.IPv4Version {
		h := header.IPv4(to)
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
	}
	t := header.TCP(to[first.ip:])
	t.SetFlags(uint8(t.Flags() | j.segments[g.last].tcp().Flags()&header.TCPFlagPsh))
	t.SetChecksum(0)
	head := checksum.Checksum(to[first.ip:first.head], 0)
	t.SetChecksum(^checksum.Combine(checksum.Combine(first.pseudo(g.size-first.ip), head), g.sum))
}
