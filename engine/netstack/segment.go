package netstack

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// maxHeaders is the longest IP header with the longest TCP header.
const maxHeaders = 60 + 60

// segmenter copies a packet out of the stack: a large TCP one as the segments that it stands for (what a network
// card does with TSO), any other as it is.
type segmenter struct {
	pkt  *stack.PacketBuffer // nil: nothing is being cut
	view *buffer.View
	off  int // in view
	left int // bytes of payload

	headers  [maxHeaders]byte
	length   int // of headers
	ip       int // length of the IP header
	size     int // of a segment's payload
	pseudo   uint16
	sequence uint32
	id       uint16
}

// begin takes over the reference to pkt.
func (s *segmenter) begin(pkt *stack.PacketBuffer, mtu int) {
	s.pkt = pkt
	views, off := pkt.AsViewList()
	s.view, s.off, s.left = views.Front(), off, pkt.Size()
	s.length = 0
	if pkt.GSOOptions.Type == stack.GSONone {
		return
	}
	s.ip, s.length = len(pkt.NetworkHeader().Slice()), pkt.HeaderSize()
	s.read(s.headers[:s.length])
	s.size = max(1, min(int(pkt.GSOOptions.MSS), mtu-s.length))
	t := header.TCP(s.headers[s.ip:s.length])
	s.sequence = t.SequenceNumber()
	if s.headers[0]>>4 == header.IPv4Version {
		h := header.IPv4(s.headers[:s.ip])
		s.id, s.pseudo = h.ID(), header.PseudoHeaderChecksum(header.TCPProtocolNumber, h.SourceAddress(), h.DestinationAddress(), 0)
	} else {
		h := header.IPv6(s.headers[:s.ip])
		s.pseudo = header.PseudoHeaderChecksum(header.TCPProtocolNumber, h.SourceAddress(), h.DestinationAddress(), 0)
	}
}

// read copies the next bytes of the packet.
func (s *segmenter) read(to []byte) {
	s.left -= len(to)
	for len(to) > 0 {
		n := copy(to, s.view.AsSlice()[s.off:])
		to, s.off = to[n:], s.off+n
		if s.off == s.view.Size() {
			s.view, s.off = s.view.Next(), 0
		}
	}
}

// segment writes the next packet and returns its size; 0: it does not fit, and the whole is lost. After the last one it lets
// go of the packet.
func (s *segmenter) segment(to []byte) int {
	n := s.left
	if s.length > 0 {
		n = min(s.left, s.size)
	}
	size := s.length + n
	if size > len(to) {
		s.end()
		return 0
	}
	to = to[:size]
	copy(to, s.headers[:s.length])
	s.read(to[s.length:])
	if s.length > 0 {
		s.finish(to)
	}
	if s.left == 0 {
		s.end()
	}
	return size
}

func (s *segmenter) end() {
	s.pkt.DecRef()
	s.pkt, s.view = nil, nil
}

// finish makes the headers those of one segment.
func (s *segmenter) finish(packet []byte) {
	t := header.TCP(packet[s.ip:])
	t.SetSequenceNumber(s.sequence)
	s.sequence += uint32(len(packet) - s.length)
	if s.left > 0 {
		t.SetFlags(uint8(t.Flags() &^ (header.TCPFlagFin | header.TCPFlagPsh))) // only the last one says so
	}
	setIPLength(packet)
	if packet[0]>>4 == header.IPv4Version {
		h := header.IPv4(packet)
		h.SetID(s.id)
		s.id++
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
	}
	setTCPChecksum(t, s.pseudo)
}

// setIPLength makes the IP header of a packet say how long that is.
func setIPLength(packet []byte) {
	if packet[0]>>4 == header.IPv4Version {
		header.IPv4(packet).SetTotalLength(uint16(len(packet)))
	} else {
		header.IPv6(packet).SetPayloadLength(uint16(len(packet) - header.IPv6MinimumSize))
	}
}

// setTCPChecksum makes the sum of a whole segment; pseudo is that of its pseudo-header without the length.
func setTCPChecksum(t header.TCP, pseudo uint16) {
	t.SetChecksum(0)
	t.SetChecksum(^checksum.Checksum(t, checksum.Combine(pseudo, uint16(len(t)))))
}
