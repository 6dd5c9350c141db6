package gateway

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		serveEcho()
		return
	}
	goleak.VerifyTestMain(m)
}

const testMTU = 1420

var (
	nodeAddrs = prefixes("10.8.0.1/24", "fd00:8::1/64")
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.IPv6Loopback()
)

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// lab is a gateway and its peers, which are on wires in memory instead of in tunnels. The network behind the gateway is
// this host's loopback, which the policy allows by name.
type lab struct {
	t    *testing.T
	g    *Gateway
	hub  *netstack.Device
	mu   sync.Mutex // protects ends
	ends map[netip.Addr]*netstack.Device
	// wires are peers without a stack, see echo_test.go.
	wires map[netip.Addr]*wire
}

// peer is a client of the lab.
type peer struct {
	*netstack.Net
	dev   *netstack.Device
	conf  engine.Peer
	addrs []netip.Addr
}

var allowLoopback = []engine.AccessRule{
	{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}, {}, // and all the rest
}

func newLab(t *testing.T, o Options) *lab {
	t.Helper()
	hub, err := netstack.New(netstack.Options{
		Addresses: []netip.Addr{nodeAddrs[0].Addr(), nodeAddrs[1].Addr()}, MTU: testMTU, Promiscuous: true,
	})
	require.NoError(t, err)
	g := New(hub, nodeAddrs, o)
	l := &lab{t: t, g: g, hub: hub, ends: make(map[netip.Addr]*netstack.Device), wires: make(map[netip.Addr]*wire)}
	l.set(engine.GatewayConfig{})
	var wires sync.WaitGroup
	wires.Go(func() { pump(hub, l.deliver) })
	t.Cleanup(func() {
		g.Close()
		require.NoError(t, hub.Close())
		wires.Wait()
		require.Empty(t, g.Flows(), "after Close")
	})
	return l
}

// set configures the gateway; without an allow list the host's loopback is allowed.
func (l *lab) set(c engine.GatewayConfig) {
	l.t.Helper()
	if len(c.Access.Node.Allow) == 0 {
		c.Access.Node.Allow = allowLoopback
	}
	require.NoError(l.t, l.g.Set(c))
}

// deliver is cryptokey routing.
func (l *lab) deliver(packet []byte) {
	_, dst, ok := addresses(packet)
	l.mu.Lock()
	end, wire := l.ends[dst], l.wires[dst]
	l.mu.Unlock()
	if wire != nil {
		wire.take(packet)
	}
	if ok && end != nil {
		_, _ = end.Write([][]byte{packet}, 0)
	}
}

// pump moves packets off a device until it is closed.
func pump(from tun.Device, to func(packet []byte)) {
	bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 65536)
	}
	for {
		n, err := from.Read(bufs, sizes, 0)
		if err != nil {
			return
		}
		for i := range n {
			to(bufs[i][:sizes[i]])
		}
	}
}

// join adds a peer with the n-th addresses.
func (l *lab) join(n byte) *peer {
	l.t.Helper()
	addrs := []netip.Addr{netip.AddrFrom4([4]byte{10, 8, 0, n}), netip.AddrFrom16([16]byte{0: 0xfd, 3: 8, 15: n})}
	dev, err := netstack.New(netstack.Options{Addresses: addrs, MTU: testMTU, Promiscuous: true})
	require.NoError(l.t, err)
	p := &peer{Net: dev.Net(), dev: dev, addrs: addrs, conf: engine.Peer{
		PublicKey:  enginetest.PrivateKey(l.t).PublicKey(),
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(addrs[0], 32), netip.PrefixFrom(addrs[1], 128)},
	}}
	l.mu.Lock()
	for _, a := range addrs {
		l.ends[a] = dev
	}
	l.mu.Unlock()
	l.g.ChangePeers([]engine.PeerChange{{After: &p.conf}})
	var wire sync.WaitGroup
	wire.Go(func() { pump(dev, func(packet []byte) { _, _ = l.hub.Write([][]byte{packet}, 0) }) })
	l.t.Cleanup(func() {
		require.NoError(l.t, dev.Close())
		wire.Wait()
	})
	return p
}

func (l *lab) context(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(l.t.Context(), d)
	l.t.Cleanup(cancel)
	return ctx
}

// listen is a TCP server on the host, on both families one after the other.
func listen(t *testing.T, a netip.Addr, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	require.NoError(t, err)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		tasks.Wait()
	})
	return addrPortOf(ln.Addr())
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) // no splice, which takes two more files for each
	_ = c.CloseWrite()
}

// count is how often something was refused to a peer.
func (l *lab) count(p *peer, why engine.Refusal) int64 {
	return l.g.Stats().Peers[p.conf.PublicKey].Refused[why]
}

// peerDial connects from a peer's stack, for what net.Conn cannot do.
func (l *lab) peerDial(p *peer, s *stream, to netip.AddrPort) error {
	g := &Gateway{stack: p.dev.Stack(), o: Options{Timeouts: Timeouts{}.withDefaults()}}
	return g.dialPeer(l.t.Context(), s, to)
}

func (d *dialing) empty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.all) == 0
}
