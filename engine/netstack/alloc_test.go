//go:build !race

package netstack

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// nowhere is a stack that takes what it gets.
type nowhere struct{ stack.NetworkDispatcher }

func (nowhere) DeliverNetworkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// Once the pools are filled, a packet costs no allocation of its own, in either direction. (The race detector empties pools.)
func TestSteadyStateAllocatesNothing(t *testing.T) {
	const packets = 64
	d, err := New(Options{MTU: 1420})
	require.NoError(t, err)
	defer d.Close()
	perPacket := func(batch func()) float64 { return testing.AllocsPerRun(200, batch) / packets }

	packet := make([]byte, 1400)
	bufs, sizes := make([][]byte, packets), make([]int, packets)
	for i := range bufs {
		bufs[i] = make([]byte, 1500)
	}
	require.Less(t, perPacket(func() {
		for range packets {
			d.Send(packet)
		}
		_, _ = d.Read(bufs, sizes, 0)
	}), 0.1, "out")

	d.link.Attach(nowhere{})
	var segments [][]byte
	for i := range uint32(packets) {
		segments = append(segments, tcpSegment{port: 1, seq: i * 900, flags: header.TCPFlagAck, payload: make([]byte, 900)}.packet())
	}
	require.Less(t, perPacket(func() { _, _ = d.Write(segments, 0) }), 0.1, "in")
}
