//go:build root

package userspace

import (
	"encoding/binary"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/offload"
)

// twin is one of two TUN interfaces that get the same packets: one is read by us, the other by upstream.
type twin struct {
	tun   tun.Device
	index int
	bufs  [][]byte
	sizes []int
}

// newTwin makes an interface on which the kernel itself says nothing.
func newTwin(t *testing.T, name string, ours bool) *twin {
	t.Helper()
	require.Zero(t, os.Geteuid(), "the tests with the tag root need root")
	f, err := tunFile(name)
	require.NoError(t, err)
	d, err := tun.CreateTUNFromFile(f, device.DefaultMTU)
	require.NoError(t, err)
	if ours {
		d, err = drain(d)
		require.NoError(t, err)
	}
	t.Cleanup(func() { _ = d.Close() }) // a test may have closed it
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o600))
	require.NoError(t, link.Up(name))
	i, err := net.InterfaceByName(name)
	require.NoError(t, err)
	w := &twin{tun: d, index: i.Index, bufs: make([][]byte, conn.IdealBatchSize), sizes: make([]int, conn.IdealBatchSize)}
	for i := range w.bufs {
		w.bufs[i] = make([]byte, device.MaxMessageSize)
	}
	return w
}

// injector sends packets out of interfaces with the virtio_net_hdr that their reader shall see (packet(7), PACKET_VNET_HDR).
func injector(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
	return fd
}

func (w *twin) inject(fd int, b []byte) error { return unix.Sendto(fd, b, 0, w.address(b)) }

func (w *twin) address(b []byte) *unix.SockaddrLinklayer {
	proto := uint16(unix.ETH_P_IP)
	if b[offload.HeaderSize]>>4 == 6 {
		proto = unix.ETH_P_IPV6
	}
	return &unix.SockaddrLinklayer{Protocol: proto<<8 | proto>>8, Ifindex: w.index}
}

// packets is one Read into room for n.
func (w *twin) packets(n int) (out [][]byte, err error) {
	const offset = device.MessageTransportHeaderSize
	if err := w.tun.File().SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil { // for a test that fails
		return nil, err
	}
	got, err := w.tun.Read(w.bufs[:n], w.sizes, offset)
	for i := range got {
		out = append(out, append([]byte(nil), w.bufs[i][offset:offset+w.sizes[i]]...))
	}
	return out, err
}

// until reads up to and with a packet.
func (w *twin) until(t require.TestingT, last []byte, room func() int) (out [][]byte) {
	for len(out) == 0 || string(out[len(out)-1]) != string(last) {
		got, err := w.packets(room())
		require.NoError(t, err)
		out = append(out, got...)
	}
	return out
}

// drawn is a packet, large or not, as a host hands it to a TUN, with its virtio_net_hdr.
func drawn(t *rapid.T) []byte {
	v6, udp, sum := rapid.Bool().Draw(t, "v6"), rapid.Bool().Draw(t, "udp"), rapid.Bool().Draw(t, "sum")
	size := rapid.IntRange(0, 3000).Draw(t, "size") // of a segment; 0: it is none
	n := rapid.IntRange(0, 1300).Draw(t, "n")
	if size > 0 {
		sum = true
		n = rapid.IntRange(size+1, min(60000, size*conn.IdealBatchSize)).Draw(t, "n of a large one") // more than one
	}
	ip, transport, at := header.IPv4MinimumSize, header.UDPMinimumSize, 6
	if v6 {
		ip = header.IPv6MinimumSize
	} else {
		ip += 4 * rapid.IntRange(0, 3).Draw(t, "IP options")
	}
	if !udp {
		transport, at = header.TCPMinimumSize+4*rapid.IntRange(0, 10).Draw(t, "TCP options"), 16
	}
	b := make([]byte, offload.HeaderSize+ip+transport+n)
	p := b[offload.HeaderSize:]
	for i := range p {
		p[i] = byte(i * 31)
	}
	if sum {
		b[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
		binary.NativeEndian.PutUint16(b[6:], uint16(ip))
		binary.NativeEndian.PutUint16(b[8:], uint16(at))
	}
	if size > 0 {
		b[1] = kindOf(v6, udp)
		binary.NativeEndian.PutUint16(b[2:], uint16(ip+transport))
		binary.NativeEndian.PutUint16(b[4:], uint16(size))
	}
	proto := header.TCPProtocolNumber
	if udp {
		proto = header.UDPProtocolNumber
	}
	encodeIP(t, p, ip, v6, proto)
	encodeTransport(t, p[ip:], transport, udp)
	return b
}

func kindOf(v6, udp bool) byte {
	switch {
	case udp:
		return unix.VIRTIO_NET_HDR_GSO_UDP_L4
	case v6:
		return unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	return unix.VIRTIO_NET_HDR_GSO_TCPV4
}

func encodeIP(t *rapid.T, p []byte, ip int, v6 bool, proto tcpip.TransportProtocolNumber) {
	if v6 {
		header.IPv6(p).Encode(&header.IPv6Fields{
			PayloadLength: uint16(len(p) - ip), TransportProtocol: proto, HopLimit: 64,
			SrcAddr: tcpip.AddrFrom16([16]byte{0xfd, 15: 1}), DstAddr: tcpip.AddrFrom16([16]byte{0xfd, 15: 2}),
		})
		return
	}
	header.IPv4(p).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(p)), ID: rapid.Uint16().Draw(t, "id"), TTL: 64, Protocol: uint8(proto),
		SrcAddr: tcpip.AddrFrom4([4]byte{10, 7, 0, 1}), DstAddr: tcpip.AddrFrom4([4]byte{10, 7, 0, 2}),
	})
	p[0] = 0x40 | byte(ip/4)
	header.IPv4(p).SetChecksum(0)
	header.IPv4(p).SetChecksum(^header.IPv4(p).CalculateChecksum())
}

// encodeTransport leaves something in the place of the sum: large packets come with anything there.
func encodeTransport(t *rapid.T, p []byte, size int, udp bool) {
	sum := rapid.Uint16().Draw(t, "sum of the pseudo-header")
	if udp {
		header.UDP(p).Encode(&header.UDPFields{SrcPort: 1, DstPort: 2, Length: uint16(len(p)), Checksum: sum})
		return
	}
	flags := header.TCPFlags(rapid.Byte().Draw(t, "flags")) &^ 0xc0 // without ECN, which these devices do not offer
	header.TCP(p).Encode(&header.TCPFields{
		SrcPort: 1, DstPort: 2, SeqNum: rapid.Uint32().Draw(t, "seq"), AckNum: 5, DataOffset: uint8(size), Flags: flags, Checksum: sum,
	})
}

// mark is a packet that ends a series.
func mark() []byte {
	b := make([]byte, offload.HeaderSize+header.IPv4MinimumSize+1)
	header.IPv4(b[offload.HeaderSize:]).Encode(&header.IPv4Fields{TotalLength: header.IPv4MinimumSize + 1, TTL: 1, Protocol: 253})
	return b
}

// positive is a packet whose sum of 0, which upstream writes once in 65,536 times, is what we write.
func positive(p []byte) []byte {
	ip, proto := int(p[0]&15)*4, p[9]
	if p[0]>>4 == 6 {
		ip, proto = header.IPv6MinimumSize, p[6]
	}
	at := ip + 16
	if proto == unix.IPPROTO_UDP {
		at = ip + 6
	}
	if at+2 <= len(p) && p[at] == 0 && p[at+1] == 0 {
		p[at], p[at+1] = 0xff, 0xff
	}
	return p
}

// Whatever the kernel hands over and in batches of whatever size, our Read gives what upstream's gives, in its order.
func TestDrainedReadGivesWhatUpstreamGives(t *testing.T) {
	ours, theirs := newTwin(t, "wgt0", true), newTwin(t, "wgt1", false)
	fd := injector(t)
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(rapid.Custom(drawn), 0, 20).Draw(t, "packets")
		for _, b := range append(sent, mark()) {
			require.NoError(t, ours.inject(fd, b))
			require.NoError(t, theirs.inject(fd, b))
		}
		last := mark()[offload.HeaderSize:]
		want := theirs.until(t, last, func() int { return conn.IdealBatchSize })
		got := ours.until(t, last, func() int { return rapid.IntRange(1, conn.IdealBatchSize).Draw(t, "room") })
		require.GreaterOrEqual(t, len(want), len(sent)+1, "nothing was lost on the way")
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, positive(want[i]), positive(got[i]), "packet %d", i)
		}
	})
}

func TestDrainedReadTakesAllThatWaits(t *testing.T) {
	w := newTwin(t, "wgt0", true)
	fd := injector(t)
	for range 100 {
		require.NoError(t, w.inject(fd, mark()))
	}
	for _, want := range []int{64, 36} {
		got, err := w.packets(64)
		require.NoError(t, err)
		require.Len(t, got, want)
	}
}

func TestDrainedReadMakesNoGarbage(t *testing.T) {
	w := newTwin(t, "wgt0", true)
	fd := injector(t)
	b := mark()
	to := w.address(b)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if unix.Sendto(fd, b, 0, to) != nil {
			panic("not sent")
		}
		if n, err := w.tun.Read(w.bufs, w.sizes, 16); n != 1 || err != nil {
			panic("not read")
		}
	}))
}

// However a device ends, its reader learns that it is closed. (Upstream's says "not pollable" at times when the link is gone.)
func TestDrainedReadEnds(t *testing.T) {
	for how, end := range map[string]func(w *twin) error{
		"closed":        func(w *twin) error { return w.tun.Close() },
		"its link gone": func(*twin) error { return link.Delete("wgt0") },
	} {
		w := newTwin(t, "wgt0", true)
		failed := make(chan error, 1)
		go func() {
			_, err := w.tun.Read(w.bufs, w.sizes, 16)
			failed <- err
		}()
		require.NoError(t, end(w))
		require.ErrorIs(t, <-failed, os.ErrClosed, how)
		_, err := w.tun.Read(w.bufs, w.sizes, 16)
		require.ErrorIs(t, err, os.ErrClosed, how)
		require.NoError(t, w.tun.Close(), how)
		require.NoError(t, w.tun.Close(), how)
	}
}

// What Read does not touch is upstream's: events come and end, the MTU is the link's.
func TestDrainedTellsMTUAndEvents(t *testing.T) {
	for _, ours := range []bool{true, false} {
		w := newTwin(t, "wgt0", ours)
		require.NoError(t, link.SetMTU("wgt0", 1300))
		mtu, err := w.tun.MTU()
		require.NoError(t, err)
		require.Equal(t, 1300, mtu)
		seen := make(map[tun.Event]bool)
		require.Eventually(t, func() bool {
			select {
			case e := <-w.tun.Events():
				seen[e] = true
			default:
			}
			return seen[tun.EventUp] && seen[tun.EventMTUUpdate]
		}, 10*time.Second, time.Millisecond)
		require.NoError(t, w.tun.Close())
		require.Eventually(t, func() bool {
			select {
			case _, open := <-w.tun.Events():
				return !open
			default:
				return false
			}
		}, 10*time.Second, time.Millisecond, "ours: %v", ours)
	}
}
