//go:build !race

package gateway

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

// 1,000 peers with 10 flows each at the same time, both ends in this process, in less than 1.5 GiB; and back to where it was, as far
// as Go's maps give back what they once held: the first time fills them, so that the second one counts. (Under the race detector a
// flow costs many times as much.)
func TestTenThousandFlows(t *testing.T) {
	const peers, each, most = 1000, 10, 1536 << 20
	server := echoServer(t)
	l := newLab(t, Options{})
	wait := tcpip.TCPTimeWaitTimeoutOption(10 * time.Millisecond) // what has ended is not to be waited for
	dev, addrs := l.crowd(peers)
	for _, s := range []*stack.Stack{dev.Stack(), l.hub.Stack()} {
		require.Nil(t, s.SetTransportProtocolOption(tcp.ProtocolNumber, &wait))
	}
	l.tenThousand(dev, addrs, server, each, most)
	before := settled(t)
	l.tenThousand(dev, addrs, server, each, most)
	require.Eventually(t, func() bool { return live() < before+before/10 }, 30*time.Second, time.Second, "before %d KiB", before>>10)
	t.Logf("live before %d KiB, after %d KiB", before>>10, live()>>10)
}

// settled is what is live once nothing is let go any more. That no goroutine stays, goleak sees.
func settled(t *testing.T) uint64 {
	t.Helper()
	last := live()
	require.Eventually(t, func() bool {
		now := live()
		same := now > last-last/100
		last = now
		return same
	}, 30*time.Second, time.Second)
	return last
}

// tenThousand opens that many flows for each address, uses all of them at the same time, and ends them.
func (l *lab) tenThousand(dev *netstack.Device, addrs []netip.Addr, server netip.AddrPort, each int, most int64) {
	t := l.t
	t.Helper()
	ctx := l.context(2 * time.Minute)
	conns := make([]net.Conn, len(addrs)*each)
	parallel(t, len(conns), func(i int) error {
		c, err := dialFrom(ctx, dev, addrs[i%len(addrs)], server)
		if err != nil {
			return fmt.Errorf("flow %d: %w", i, err)
		}
		conns[i] = c
		return talk(c, fmt.Sprintf("flow %d", i))
	})
	require.Len(t, l.g.Flows(), len(conns))
	parallel(t, len(conns), func(i int) error { return talk(conns[i], fmt.Sprintf("again %d", i)) })
	m := newMemory(most)
	require.False(t, m.full(), "the process has %d MiB", used()>>20)
	t.Logf("with %d flows: %d MiB, live %d MiB", len(conns), used()>>20, live()>>20)
	for _, c := range conns {
		c.Close()
	}
	require.Eventually(t, func() bool { return len(l.g.Flows()) == 0 }, time.Minute, 10*time.Millisecond)
}

// echoServer starts one in a process of its own.
func echoServer(t *testing.T) netip.AddrPort {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverVariable+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		require.NoError(t, cmd.Wait())
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return netip.MustParseAddrPort(strings.TrimSpace(line))
}

// crowd is many peers whose stack is one device.
func (l *lab) crowd(n int) (*netstack.Device, []netip.Addr) {
	l.t.Helper()
	dev, err := netstack.New(netstack.Options{MTU: testMTU, Promiscuous: true})
	require.NoError(l.t, err)
	var addrs []netip.Addr
	var peers []engine.PeerChange
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 9, byte(i / 250), byte(1 + i%250)})
		addrs = append(addrs, a)
		peers = append(peers, engine.PeerChange{After: &engine.Peer{
			PublicKey: [32]byte{byte(i), byte(i >> 8), 1}, AllowedIPs: []netip.Prefix{netip.PrefixFrom(a, 32)},
		}})
		require.Nil(l.t, dev.Stack().AddProtocolAddress(netstack.NIC, tcpip.ProtocolAddress{
			Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix(),
		}, stack.AddressProperties{}))
		l.mu.Lock()
		l.ends[a] = dev
		l.mu.Unlock()
	}
	l.g.ChangePeers(peers)
	var wire sync.WaitGroup
	wire.Go(func() { pump(dev, func(packet []byte) { _, _ = l.hub.Write([][]byte{packet}, 0) }) })
	l.t.Cleanup(func() {
		require.NoError(l.t, dev.Close())
		wire.Wait()
	})
	return dev, addrs
}

func dialFrom(ctx context.Context, d *netstack.Device, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	return gonet.DialTCPWithBind(ctx, d.Stack(), tcpip.FullAddress{NIC: netstack.NIC, Addr: tcpip.AddrFromSlice(from.AsSlice())},
		tcpip.FullAddress{NIC: netstack.NIC, Addr: tcpip.AddrFromSlice(to.Addr().AsSlice()), Port: to.Port()}, ipv4.ProtocolNumber)
}

// parallel does n things, a hundred at a time.
func parallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	errs := make(chan error, n)
	room := make(chan struct{}, 100)
	for i := range n {
		room <- struct{}{}
		go func() {
			errs <- do(i)
			<-room
		}()
	}
	for range n {
		require.NoError(t, <-errs)
	}
}

func used() uint64 {
	m := newMemory(1)
	m.full()
	return m.sample[0].Value.Uint64() - m.sample[1].Value.Uint64()
}
