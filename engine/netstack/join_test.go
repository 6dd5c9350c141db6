package netstack

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"pgregory.net/rapid"
)

// tcpSegment describes a packet of a test.
type tcpSegment struct {
	v6      bool
	port    uint16
	seq     uint32
	flags   header.TCPFlags
	options []byte // a multiple of four
	payload []byte
}

func (s tcpSegment) packet() []byte {
	head := header.TCPMinimumSize + len(s.options)
	t := header.TCP(make([]byte, head, head+len(s.payload)))
	t.Encode(&header.TCPFields{SrcPort: s.port, DstPort: 80, SeqNum: s.seq, AckNum: 7, DataOffset: uint8(head), Flags: s.flags, WindowSize: 500})
	copy(t[header.TCPMinimumSize:], s.options)
	t = append(t, s.payload...)
	src, dst := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
	if s.v6 {
		src, dst = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1")
	}
	a, b := tcpip.AddrFromSlice(src.AsSlice()), tcpip.AddrFromSlice(dst.AsSlice())
	setTCPChecksum(t, header.PseudoHeaderChecksum(header.TCPProtocolNumber, a, b, 0))
	if s.v6 {
		h := header.IPv6(make([]byte, header.IPv6MinimumSize))
		h.Encode(&header.IPv6Fields{PayloadLength: uint16(len(t)), TransportProtocol: header.TCPProtocolNumber, HopLimit: 64, SrcAddr: a, DstAddr: b})
		return append(h, t...)
	}
	h := header.IPv4(make([]byte, header.IPv4MinimumSize))
	h.Encode(&header.IPv4Fields{TotalLength: uint16(len(h) + len(t)), TTL: 64, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: a, DstAddr: b})
	h.SetChecksum(^h.CalculateChecksum())
	return append(h, t...)
}

// sink is a stack that keeps what it gets.
type sink struct {
	stack.NetworkDispatcher
	got [][]byte
}

func (s *sink) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	b := pkt.ToBuffer()
	s.got = append(s.got, b.Flatten())
}

func joined(packets ...[]byte) [][]byte {
	l, s := newLink(1420), &sink{}
	l.Attach(s)
	j := new(joiner)
	for _, p := range packets {
		j.add(p)
	}
	j.flush(l)
	return s.got
}

func valid(t require.TestingT, packet []byte) {
	s := segment{packet: packet}
	s.parse()
	require.NotZero(t, s.ip)
	require.True(t, s.check(), "the sum of the segment")
	if packet[0]>>4 == 4 {
		h := header.IPv4(packet)
		require.True(t, h.IsChecksumValid())
		require.EqualValues(t, len(packet), h.TotalLength())
	} else {
		require.EqualValues(t, len(packet)-header.IPv6MinimumSize, header.IPv6(packet).PayloadLength())
	}
}

// Whatever arrives in one batch, the stack gets the same bytes of each flow in the same order, in packets with right sums.
func TestJoiningChangesNoStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 1400).Draw(t, "size")
		var packets [][]byte
		sent, next := map[uint16][]byte{}, map[uint16]uint32{}
		for range rapid.IntRange(1, batchSize).Draw(t, "packets") {
			s := tcpSegment{port: rapid.Uint16Range(1, 3).Draw(t, "port"), flags: header.TCPFlagAck}
			s.v6 = s.port == 3
			if s.port == 2 {
				s.options = []byte{1, 1, 1, 1, 1, 1, 1, 1}
			}
			n := rapid.SampledFrom([]int{size, size, size, size / 2, 0}).Draw(t, "n")
			s.payload = rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "payload")
			if rapid.IntRange(0, 9).Draw(t, "push") == 0 {
				s.flags |= header.TCPFlagPsh
			}
			s.seq = next[s.port]
			next[s.port] += uint32(n)
			sent[s.port] = append(sent[s.port], s.payload...)
			packets = append(packets, s.packet())
		}
		got := map[uint16][]byte{}
		for _, p := range joined(packets...) {
			valid(t, p)
			s := segment{packet: p}
			s.parse()
			require.EqualValues(t, len(got[s.tcp().SourcePort()]), s.tcp().SequenceNumber(), "in order")
			got[s.tcp().SourcePort()] = append(got[s.tcp().SourcePort()], s.payload()...)
		}
		for port, want := range sent {
			require.True(t, bytes.Equal(want, got[port]))
		}
	})
}

func TestWhatIsJoined(t *testing.T) {
	data := func(seq uint32, n int) tcpSegment {
		return tcpSegment{port: 1, seq: seq, flags: header.TCPFlagAck, payload: slices.Repeat([]byte{byte(seq)}, n)}
	}
	with := func(s tcpSegment, f func(*tcpSegment)) tcpSegment { f(&s); return s }
	for name, tt := range map[string]struct {
		segments []tcpSegment
		want     int
	}{
		"what follows":           {[]tcpSegment{data(0, 100), data(100, 100), data(200, 50)}, 1},
		"nothing after a short":  {[]tcpSegment{data(0, 100), data(100, 50), data(150, 100)}, 2},
		"no gap":                 {[]tcpSegment{data(0, 100), data(200, 100)}, 2},
		"no longer one":          {[]tcpSegment{data(0, 50), data(50, 100)}, 2},
		"not beyond a push":      {[]tcpSegment{with(data(0, 100), func(s *tcpSegment) { s.flags |= header.TCPFlagPsh }), data(100, 100)}, 2},
		"no other options":       {[]tcpSegment{data(0, 100), with(data(100, 100), func(s *tcpSegment) { s.options = []byte{1, 1, 1, 1} })}, 2},
		"no end":                 {[]tcpSegment{data(0, 100), with(data(100, 100), func(s *tcpSegment) { s.flags |= header.TCPFlagFin })}, 2},
		"not around another":     {[]tcpSegment{data(0, 100), with(data(100, 0), func(s *tcpSegment) { s.flags |= header.TCPFlagFin }), data(100, 100)}, 3},
		"two flows in any order": {[]tcpSegment{data(0, 100), with(data(0, 100), func(s *tcpSegment) { s.port = 2 }), data(100, 100), with(data(100, 100), func(s *tcpSegment) { s.port = 2 })}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var packets [][]byte
			for _, s := range tt.segments {
				packets = append(packets, s.packet())
			}
			require.Len(t, joined(packets...), tt.want)
		})
	}
	t.Run("never more than an IP packet holds", func(t *testing.T) {
		var packets [][]byte
		for i := range uint32(100) {
			packets = append(packets, data(i*1400, 1400).packet())
		}
		got := joined(packets...)
		require.Len(t, got, 3)
		for _, p := range got {
			valid(t, p)
		}
	})
}

// A segment with a flipped bit anywhere is never joined with others: the stack sees it as it came.
func TestCorruptIsNeverJoined(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		good := [][]byte{}
		for i := range uint32(3) {
			good = append(good, tcpSegment{v6: v6, port: 1, seq: i * 64, flags: header.TCPFlagAck, payload: bytes.Repeat([]byte{byte(i)}, 64)}.packet())
		}
		require.Len(t, joined(good...), 1)
		ip := header.IPv4MinimumSize
		if v6 {
			ip = header.IPv6MinimumSize
		}
		for which := range good {
			for at := ip; at < len(good[which]); at++ {
				packets := [][]byte{slices.Clone(good[0]), slices.Clone(good[1]), slices.Clone(good[2])}
				packets[which][at] ^= 0x10
				bad := slices.Clone(packets[which])
				got := joined(packets...)
				require.True(t, slices.ContainsFunc(got, func(p []byte) bool { return bytes.Equal(p, bad) }),
					"byte %d of segment %d went into another one", at, which)
			}
		}
	}
}

// What the stack sends in one piece comes out as the segments that it stands for, and joining them gives it back.
func TestCuttingAndJoiningAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		n := rapid.IntRange(1, 60000).Draw(t, "n")
		mss := rapid.IntRange(536, 1400).Draw(t, "mss")
		mtu := rapid.IntRange(576, 1500).Draw(t, "mtu")
		room := rapid.IntRange(1, 64).Draw(t, "room")
		s := tcpSegment{v6: v6, port: 1, seq: rapid.Uint32().Draw(t, "seq"), flags: header.TCPFlagAck | header.TCPFlagPsh}
		s.payload = make([]byte, n)
		for i := range s.payload {
			s.payload[i] = byte(i * 7)
		}
		whole := s.packet()
		d, err := New(Options{MTU: mtu})
		require.NoError(t, err)
		defer d.Close()
		d.link.ring[0], d.link.count = gsoPacket(whole, v6, mss), 1
		bufs, sizes := make([][]byte, room), make([]int, room)
		for i := range bufs {
			bufs[i] = make([]byte, 2000)
		}
		var got []byte
		size := min(mss, mtu-len(whole)+n)
		for seq := s.seq; len(got) < n; {
			k, err := d.Read(bufs, sizes, 10)
			require.NoError(t, err)
			for i := range k {
				p := bufs[i][10 : 10+sizes[i]]
				valid(t, p)
				o := segment{packet: p}
				o.parse()
				require.Equal(t, seq, o.tcp().SequenceNumber())
				last := len(got)+len(o.payload()) == n
				require.Equal(t, last, o.tcp().Flags()&header.TCPFlagPsh != 0)
				require.True(t, last || len(o.payload()) == size)
				got, seq = append(got, o.payload()...), seq+uint32(len(o.payload()))
			}
		}
		require.True(t, bytes.Equal(s.payload, got))
	})
}

func gsoPacket(whole []byte, v6 bool, mss int) *stack.PacketBuffer {
	ip := header.IPv4MinimumSize
	gso := stack.GSO{Type: stack.GSOTCPv4, NeedsCsum: true, MSS: uint16(mss)}
	proto := ipv4.ProtocolNumber
	if v6 {
		ip, proto, gso.Type = header.IPv6MinimumSize, ipv6.ProtocolNumber, stack.GSOTCPv6
	}
	head := ip + header.TCPMinimumSize
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: head, Payload: buffer.MakeWithData(whole[head:])})
	copy(pkt.TransportHeader().Push(header.TCPMinimumSize), whole[ip:head])
	copy(pkt.NetworkHeader().Push(ip), whole[:ip])
	pkt.NetworkProtocolNumber, pkt.GSOOptions = proto, gso
	return pkt
}
