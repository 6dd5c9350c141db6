package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// callers are a node on netstack and a client that is connected to it, on a network in memory.
type callers struct {
	*node
	backend *userspace.Backend
	client  *mesh.Client
}

var callee = netip.MustParseAddr("10.8.0.1") // as in basicConf

func newCallers(t testing.TB, wrap func(engine.Backend) engine.Backend) *callers {
	t.Helper()
	wire := network.NewWire()
	b := userspace.NewNetstack(userspace.Options{Bind: wire.Bind})
	n := newNode(t, func(o *Options) {
		withConf(t)(o)
		o.Backend = wrap(b)
	})
	state := n.device("wg0")
	c, err := mesh.NewClient(mesh.Options{
		Addresses: []netip.Addr{enginetest.PeerIP(1)}, Bind: wire.Bind(), Peer: state.Interface.PrivateKey.PublicKey(),
		Endpoint:   netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), state.Interface.ListenPort),
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(callee, 24)},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	n.mustDo("POST", peersPath, map[string]any{
		"public_key": c.PublicKey().String(), "allowed_ips": []string{enginetest.PeerIP(1).String() + "/32"},
	})
	return &callers{node: n, backend: b, client: c}
}

// listen receives datagrams on the node.
func (c *callers) listen(t testing.TB) net.Conn {
	t.Helper()
	inside, err := c.backend.Net("wg0")
	require.NoError(t, err)
	l, err := inside.ListenUDPAddrPort(netip.AddrPortFrom(callee, 7))
	require.NoError(t, err)
	return l
}

func (c *callers) dial(t testing.TB) net.Conn {
	t.Helper()
	d, err := c.client.Net().DialUDPAddrPort(netip.AddrPort{}, netip.AddrPortFrom(callee, 7))
	require.NoError(t, err)
	return d
}

// receive waits for a datagram and returns its number.
func receive(t testing.TB, l net.Conn) uint32 {
	t.Helper()
	b := make([]byte, 4)
	_, err := io.ReadFull(l, b)
	require.NoError(t, err)
	return binary.BigEndian.Uint32(b)
}

func send(to net.Conn, number uint32) error {
	_, err := to.Write(binary.BigEndian.AppendUint32(nil, number))
	return err
}

func (c *callers) handshake(t testing.TB) time.Time {
	t.Helper()
	s, err := c.client.Stats()
	require.NoError(t, err)
	return s.LastHandshake
}

func greeting(b engine.Backend) engine.Backend { return b }

// TestConnectedPeersAreGreeted: the client is silent and can't know of the restart, so that within the
// time that its own timers take the node alone can have begun a handshake.
func TestConnectedPeersAreGreeted(t *testing.T) {
	for name, again := range map[string]func(*callers){
		"restart":         func(c *callers) { c.restart() },
		"disable, enable": func(c *callers) { c.mustDo("POST", disablePath, nil); c.mustDo("POST", enablePath, nil) },
		"edited file":     func(c *callers) { c.edit("# the office", "# my office"); c.restart() },
		"crash": func(c *callers) {
			c.server.watch(c.server.slotFor("wg0"))
			kept := filepath.Join(c.t.TempDir(), "data")
			require.NoError(c.t, os.CopyFS(kept, os.DirFS(c.o.DataDir)))
			c.stop()
			c.o.DataDir = kept
			c.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCallers(t, greeting)
			l, d := c.listen(t), c.dial(t)
			require.NoError(t, send(d, 7))
			require.EqualValues(t, 7, receive(t, l))
			require.NoError(t, errors.Join(l.Close(), d.Close()))
			before := c.handshake(t)
			again(c)
			require.Eventually(t, func() bool { return c.handshake(t).After(before) }, 10*time.Second, time.Millisecond)
			require.Contains(t, c.logs.String(), "the peers that were connected were greeted")
		})
	}
}

// TestWhoIsGreeted: who had a session, and not the other ten thousand.
func TestWhoIsGreeted(t *testing.T) {
	s := newLastState()
	now := time.Now()
	o := engine.Observation{State: stateOf(t, enginetest.PrivateKey(t)), Stats: map[wgtypes.Key]engine.Stats{}}
	o.Peers = enginetest.Peers(6)
	require.NoError(t, s.do(stateRecord(o.State)))
	at := netip.MustParseAddrPort("192.0.2.1:9")
	for i, st := range []engine.Stats{
		{Endpoint: at, LastHandshake: now},
		{Endpoint: at, LastHandshake: now.Add(-sessionLife + time.Second)},
		{Endpoint: at, LastHandshake: now.Add(-sessionLife)},
		{Endpoint: at},
		{LastHandshake: now},
	} {
		o.Stats[o.Peers[i].PublicKey] = st
	}
	seen := s.news(o, now)
	require.Len(t, seen, 4, "of the others nothing is new")
	require.NoError(t, s.do(record{Seen: seen}))
	require.Empty(t, s.news(o, now))
	alive := map[wgtypes.Key]bool{o.Peers[0].PublicKey: true, o.Peers[1].PublicKey: true}
	require.Equal(t, alive, s.alive)
	require.Equal(t, at, s.peers[o.Peers[3].PublicKey].Endpoint, "where it is, is good to know in any case")

	snapshot := newLastState()
	require.NoError(t, snapshot.do(s.snapshot()))
	require.Equal(t, s, snapshot)
	require.NoError(t, s.do(record{Remove: []string{o.Peers[0].PublicKey.String()}}))
	delete(alive, o.Peers[0].PublicKey)
	require.Equal(t, alive, s.alive)
	require.NoError(t, s.do(record{Seen: s.news(o, now.Add(sessionLife))}))
	require.Empty(t, s.alive)
}

// mute hides that a device can greet.
type mute struct{ engine.Backend }

func (b mute) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	d, err := b.Backend.Create(ctx, i)
	if err != nil {
		return nil, err
	}
	return struct{ engine.Owned }{d.(engine.Owned)}, nil
}

// BenchmarkRestartGap measures what is lost of a stream of datagrams, one every millisecond, from a client to
// an agent that restarts. Without greeting it lasts the 15 s after which WireGuard begins a new handshake.
func BenchmarkRestartGap(b *testing.B) {
	for name, wrap := range map[string]func(engine.Backend) engine.Backend{
		"greeting": greeting, "silent": func(b engine.Backend) engine.Backend { return mute{b} },
	} {
		b.Run(name, func(b *testing.B) {
			c := newCallers(b, wrap)
			ctx, stop := context.WithCancel(b.Context())
			d := c.dial(b)
			var sending sync.WaitGroup
			defer func() { stop(); sending.Wait(); d.Close() }()
			sending.Go(func() {
				every := time.NewTicker(time.Millisecond)
				defer every.Stop()
				for number := uint32(0); ctx.Err() == nil; number++ {
					_ = send(d, number) // refused while nobody listens
					<-every.C
				}
			})
			var gap time.Duration
			var lost uint32
			l := c.listen(b)
			for b.Loop() {
				var last uint32
				for range 20 {
					last = receive(b, l)
				}
				begin := time.Now()
				l.Close()
				c.restart()
				l = c.listen(b)
				lost += receive(b, l) - last - 1
				gap += time.Since(begin)
			}
			l.Close()
			b.ReportMetric(float64(gap.Milliseconds())/float64(b.N), "gap-ms/op")
			b.ReportMetric(float64(lost)/float64(b.N), "lost/op")
		})
	}
}
