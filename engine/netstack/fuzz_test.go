package netstack_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/wgfleet/wgfleet/engine/netstack"
)

func udpPacket(t testing.TB, payload []byte) []byte {
	t.Helper()
	src, dst := tcpip.AddrFrom4([4]byte{10, 0, 0, 2}), tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	size := header.IPv4MinimumSize + header.UDPMinimumSize + len(payload)
	p := make([]byte, size)
	h := header.IPv4(p)
	h.Encode(&header.IPv4Fields{TotalLength: uint16(size), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: src, DstAddr: dst})
	h.SetChecksum(^h.CalculateChecksum())
	u := header.UDP(h.Payload())
	u.Encode(&header.UDPFields{SrcPort: 1, DstPort: 9, Length: uint16(size - header.IPv4MinimumSize)})
	copy(u.Payload(), payload)
	u.SetChecksum(^u.CalculateChecksum(header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, u.Length())))
	return p
}

// fragment makes a packet one of a fragmented datagram.
func fragment(p []byte, offset uint16, more bool) []byte {
	h := header.IPv4(p)
	flags := uint8(0)
	if more {
		flags = header.IPv4FlagMoreFragments
	}
	h.SetFlagsFragmentOffset(flags, offset)
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
	return p
}

// withOptions makes room for IPv4 options behind the header.
func withOptions(p []byte, options ...byte) []byte {
	out := append(append(append([]byte(nil), p[:20]...), options...), p[20:]...)
	h := header.IPv4(out)
	h.SetHeaderLength(uint8(20 + len(options)))
	h.SetTotalLength(uint16(len(out)))
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
	return out
}

// FuzzWrite puts whatever there is straight into a device, in batches, as a peer with bad intentions would. There is no panic, and
// nothing grows: what the stack answers is read, what it keeps is bounded by its own limits.
func FuzzWrite(f *testing.F) {
	good := udpPacket(f, []byte("payload of sixteen bytes"))
	f.Add(good, good, true)
	f.Add(good[:27], good[:1], true)
	f.Add(fragment(udpPacket(f, make([]byte, 16)), 0, true), fragment(udpPacket(f, make([]byte, 16)), 8, false), true) // overlapping
	f.Add(fragment(udpPacket(f, make([]byte, 16)), 65528, false), fragment(udpPacket(f, nil), 0, true), true)
	f.Add(withOptions(good, 7, 255, 4, 0), withOptions(good, 0x83, 0x83, 0x83, 0x83), true) // record route and source route that lie
	f.Add(append([]byte{0x60, 0, 0, 0, 0, 8, 0, 64}, make([]byte, 40)...), append([]byte{0x60, 0, 0, 0, 0, 8, 44, 64}, make([]byte, 40)...), false)
	d, err := netstack.New(netstack.Options{
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, MTU: 1420, Promiscuous: true,
	})
	require.NoError(f, err)
	f.Cleanup(func() { d.Close() })
	l, err := d.Net().ListenTCPAddrPort(netip.MustParseAddrPort("10.0.0.1:80"))
	require.NoError(f, err)
	f.Cleanup(func() { l.Close() })
	done := make(chan struct{})
	go func() {
		defer close(done)
		bufs, sizes := buffers(128)
		for {
			if _, err := d.Read(bufs, sizes, 0); err != nil {
				return
			}
		}
	}()
	writes := 0
	f.Fuzz(func(t *testing.T, one, two []byte, mend bool) {
		if mend { // so that more than the first check is met
			mendIPv4(one)
			mendIPv4(two)
		}
		_, err := d.Write([][]byte{one, two, one, two, two, one}, 0)
		require.NoError(t, err)
		if writes++; writes%5000 == 0 {
			require.Less(t, heap(), uint64(256<<20))
		}
	})
}

func mendIPv4(p []byte) {
	if len(p) < header.IPv4MinimumSize || p[0]>>4 != 4 {
		return
	}
	h := header.IPv4(p)
	if head := int(h.HeaderLength()); head < header.IPv4MinimumSize || head > len(p) {
		return
	}
	h.SetTotalLength(uint16(len(p)))
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
}
