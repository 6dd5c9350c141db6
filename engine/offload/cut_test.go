package offload

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"pgregory.net/rapid"
)

// large is a packet as the kernel hands it to a TUN: one for many.
type large struct {
	v6, udp bool
	options int // bytes of TCP options, a multiple of four
	payload []byte
	size    int
	flags   header.TCPFlags
}

func (l large) bytes() []byte {
	ip, transport, skip := header.IPv4MinimumSize, header.TCPMinimumSize+l.options, 16
	if l.v6 {
		ip = header.IPv6MinimumSize
	}
	if l.udp {
		transport, skip = header.UDPMinimumSize, 6
	}
	b := make([]byte, HeaderSize+ip+transport, HeaderSize+ip+transport+len(l.payload))
	b[0], b[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, l.kind()
	binary.NativeEndian.PutUint16(b[2:], 9999) // not to be trusted
	binary.NativeEndian.PutUint16(b[4:], uint16(l.size))
	binary.NativeEndian.PutUint16(b[6:], uint16(ip))
	binary.NativeEndian.PutUint16(b[8:], uint16(skip))
	p := b[HeaderSize:]
	total := ip + transport + len(l.payload)
	proto := header.TCPProtocolNumber
	if l.udp {
		proto = header.UDPProtocolNumber
	}
	src, dst := addresses(l.v6)
	if l.v6 {
		header.IPv6(p).Encode(&header.IPv6Fields{PayloadLength: uint16(total - ip), TransportProtocol: proto, HopLimit: 64, SrcAddr: src, DstAddr: dst})
	} else {
		header.IPv4(p).Encode(&header.IPv4Fields{TotalLength: uint16(total), ID: 7, TTL: 64, Protocol: uint8(proto), SrcAddr: src, DstAddr: dst})
	}
	if l.udp {
		header.UDP(p[ip:]).Encode(&header.UDPFields{SrcPort: 1, DstPort: 2, Length: uint16(total - ip)})
	} else {
		header.TCP(p[ip:]).Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, SeqNum: 1000, DataOffset: uint8(transport), Flags: l.flags})
	}
	return append(b, l.payload...)
}

func (l large) kind() byte {
	switch {
	case l.udp:
		return unix.VIRTIO_NET_HDR_GSO_UDP_L4
	case l.v6:
		return unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	return unix.VIRTIO_NET_HDR_GSO_TCPV4
}

func addresses(v6 bool) (src, dst tcpip.Address) {
	a, b := "10.0.0.1", "10.0.0.2"
	if v6 {
		a, b = "fd00::1", "fd00::2"
	}
	return tcpip.AddrFromSlice(netip.MustParseAddr(a).AsSlice()), tcpip.AddrFromSlice(netip.MustParseAddr(b).AsSlice())
}

// Whatever is cut, the segments hold the payload in its order, each of the size but the last, with right headers and sums.
func TestCutting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := large{
			v6: rapid.Bool().Draw(t, "v6"), udp: rapid.Bool().Draw(t, "udp"), options: 4 * rapid.IntRange(0, 10).Draw(t, "options"),
			payload: make([]byte, rapid.IntRange(1, 60000).Draw(t, "n")), size: rapid.IntRange(1, 1500).Draw(t, "size"),
			flags: header.TCPFlagAck | header.TCPFlagPsh | tcpFlagCWR,
		}
		for i := range l.payload {
			l.payload[i] = byte(i * 31)
		}
		var c Cutter
		require.NoError(t, c.Begin(l.bytes()))
		src, dst := addresses(l.v6)
		var got []byte
		out := make([]byte, 2000)
		for i := 0; !c.Empty(); i++ {
			p := out[:c.Next(out)]
			require.NotEmpty(t, p)
			var transport []byte
			if l.v6 {
				transport = p[header.IPv6MinimumSize:]
				require.EqualValues(t, len(transport), header.IPv6(p).PayloadLength())
			} else {
				transport = p[header.IPv4MinimumSize:]
				h := header.IPv4(p)
				require.True(t, h.IsChecksumValid())
				require.EqualValues(t, len(p), h.TotalLength())
				require.EqualValues(t, 7+i, h.ID())
			}
			var payload []byte
			if l.udp {
				u := header.UDP(transport)
				payload = u.Payload()
				require.EqualValues(t, len(transport), u.Length())
				_, valid := header.UDPValid(u, func() uint16 { return sum(payload) }, uint16(len(payload)), 0, src, dst, false)
				require.True(t, valid)
			} else {
				h := header.TCP(transport)
				payload = h.Payload()
				require.True(t, h.IsChecksumValid(src, dst, sum(payload), uint16(len(payload))))
				require.EqualValues(t, 1000+len(got), h.SequenceNumber())
				require.Equal(t, c.Empty(), h.Flags()&header.TCPFlagPsh != 0)
				require.Equal(t, i == 0, h.Flags()&tcpFlagCWR != 0)
			}
			require.True(t, len(payload) == l.size || c.Empty())
			got = append(got, payload...)
		}
		require.Equal(t, l.payload, got)
	})
}

func sum(b []byte) uint16 { return checksum.Checksum(b, 0) }

// A whole packet whose sum was left to the card gets it; one that has its own stays as it is.
func TestWholePackets(t *testing.T) {
	l := large{udp: true, payload: []byte("payload")}
	b := l.bytes()
	b[1] = unix.VIRTIO_NET_HDR_GSO_NONE
	src, dst := addresses(false)
	u := header.UDP(b[HeaderSize+header.IPv4MinimumSize:])
	u.SetChecksum(header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, u.Length()))
	var c Cutter
	require.NoError(t, c.Begin(b))
	out := make([]byte, 100)
	p := out[:c.Next(out)]
	require.True(t, c.Empty())
	got := header.UDP(p[header.IPv4MinimumSize:])
	require.True(t, got.IsChecksumValid(src, dst, sum(got.Payload())))

	b[0] = 0
	same := append([]byte(nil), b[HeaderSize:]...)
	require.NoError(t, c.Begin(b))
	require.Equal(t, same, out[:c.Next(out)])
	require.NoError(t, c.Begin(b))
	require.Zero(t, c.Next(out[:10]), "it does not fit")
	require.True(t, c.Empty())
}

func FuzzCutter(f *testing.F) {
	f.Add(large{payload: make([]byte, 5000), size: 1400}.bytes())
	f.Add(large{v6: true, udp: true, payload: make([]byte, 50), size: 7}.bytes())
	f.Add(make([]byte, HeaderSize+20))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Cutter
		if c.Begin(b) != nil {
			require.True(t, c.Empty())
			return
		}
		out := make([]byte, 2000)
		for n := 0; !c.Empty(); n++ {
			c.Next(out)
			require.LessOrEqual(t, n, len(b))
		}
	})
}

// A sum that comes out as 0 is written as 0xffff, which UDP does not take for none.
func TestNoSumIsZero(t *testing.T) {
	for _, whole := range []bool{true, false} {
		l := large{v6: true, udp: true, payload: make([]byte, 4), size: 2}
		b := l.bytes()
		src, dst := addresses(true)
		length := uint16(header.UDPMinimumSize + l.size)
		if whole {
			b[1] = unix.VIRTIO_NET_HDR_GSO_NONE
			length = uint16(header.UDPMinimumSize + len(l.payload))
		}
		u := header.UDP(b[HeaderSize+header.IPv6MinimumSize:])
		pseudo := header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, length)
		u.SetLength(length)
		u.SetChecksum(0)
		binary.BigEndian.PutUint16(u[header.UDPMinimumSize:], ^checksum.Checksum(u[:header.UDPMinimumSize], pseudo))
		u.SetChecksum(pseudo)
		var c Cutter
		require.NoError(t, c.Begin(b))
		out := make([]byte, 100)
		p := out[:c.Next(out)]
		require.Equal(t, uint16(0xffff), header.UDP(p[header.IPv6MinimumSize:]).Checksum(), "whole: %v", whole)
	}
}

func TestMalformed(t *testing.T) {
	good := large{payload: make([]byte, 100), size: 10}.bytes()
	var c Cutter
	require.NoError(t, c.Begin(append([]byte(nil), good...)))
	for name, spoil := range map[string]func(b []byte) []byte{
		"short":                      func(b []byte) []byte { return b[:HeaderSize+19] },
		"another kind of packet":     func(b []byte) []byte { b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6; return b },
		"an unknown kind":            func(b []byte) []byte { b[1] = 77; return b },
		"no IP":                      func(b []byte) []byte { b[HeaderSize] = 0; return b },
		"a longer IP header":         func(b []byte) []byte { b[HeaderSize] = 0x4f; return b },
		"TCP that begins elsewhere":  func(b []byte) []byte { binary.NativeEndian.PutUint16(b[6:], 24); return b },
		"a short TCP header":         func(b []byte) []byte { b[HeaderSize+32] = 0x10; return b },
		"nothing behind the headers": func(b []byte) []byte { return b[:HeaderSize+40] },
		"segments of nothing":        func(b []byte) []byte { b[4], b[5] = 0, 0; return b },
		"a sum beyond the end": func(b []byte) []byte {
			b[1] = unix.VIRTIO_NET_HDR_GSO_NONE
			binary.NativeEndian.PutUint16(b[6:], 200)
			return b
		},
	} {
		require.ErrorIs(t, c.Begin(spoil(append([]byte(nil), good...))), ErrMalformed, name)
		require.True(t, c.Empty(), name)
	}
}
