package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/engine"
)

func start(t testing.TB, names ...string) *Fleet {
	f, err := Start(t.Context(), names...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func key(t testing.TB) engine.SecretKey {
	k, err := engine.GeneratePrivateKey()
	require.NoError(t, err)
	return k
}

// addPeers makes n peers through the panel and returns them as they are on the node.
func addPeers(t testing.TB, f *Fleet, n *Node, count int) []engine.Peer {
	for i := range count {
		require.NoError(t, f.Call(t.Context(), "POST", "/api/nodes/"+n.ID+"/peers",
			map[string]any{"name": fmt.Sprintf("peer %d", i), "preshared_key": "auto"}, nil))
	}
	o, err := n.Observe(t.Context())
	require.NoError(t, err)
	return o.Peers
}

var all = panelclient.ReconcileRequest{Missing: true, Mismatched: true, PruneOrphaned: true, PruneForeign: true}

// A client that is as wanted must not notice that all others are put right.
func TestAStreamSurvivesTheReconcileOfAllOthers(t *testing.T) {
	ctx := t.Context()
	f := start(t, "berlin")
	n := f.Nodes[0]
	require.NoError(t, f.Serve(context.WithoutCancel(ctx), n))
	c, err := f.Connect(ctx, n, "streaming")
	require.NoError(t, err)
	defer c.Close()
	stream, err := c.Dial(ctx)
	require.NoError(t, err)
	defer stream.Close()
	require.NoError(t, stream.Say("before"))

	const others = 90
	var changes engine.Changes
	for i, p := range addPeers(t, f, n, others) {
		switch {
		case p.PublicKey == c.Key():
		case i%3 == 0: // missing
			changes.Peers = append(changes.Peers, engine.PeerChange{Before: &p})
		case i%3 == 1: // mismatched in every field
			changed := p
			changed.AllowedIPs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(i)}), 32)}
			changed.PersistentKeepalive, changed.PresharedKey = 99, engine.SecretKey{}
			changes.Peers = append(changes.Peers, engine.PeerChange{After: &changed})
		default: // as it is, and a stranger beside it
			changes.Peers = append(changes.Peers, engine.PeerChange{After: &engine.Peer{PublicKey: key(t).PublicKey()}})
		}
	}
	require.NoError(t, n.Change(ctx, changes))
	before, err := n.Observe(ctx)
	require.NoError(t, err)
	r, err := f.Drift(ctx, n)
	require.NoError(t, err)
	require.Equal(t, len(changes.Peers), len(r.Unknown)+len(r.Missing)+len(r.Mismatched))
	require.NotEmpty(t, r.Unknown)
	require.NotEmpty(t, r.Missing)
	require.NotEmpty(t, r.Mismatched)

	done, err := f.Reconcile(ctx, n, all)
	require.NoError(t, err)
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)
	require.Equal(t, len(changes.Peers), len(done.Added)+len(done.Updated)+len(done.Removed))
	require.NoError(t, stream.Say("after"), "the TCP session broke")

	after, err := n.Observe(ctx)
	require.NoError(t, err)
	was, is := before.Stats[c.Key()], after.Stats[c.Key()]
	require.Equal(t, was.LastHandshake, is.LastHandshake, "the session was not touched")
	require.Greater(t, is.RxBytes, was.RxBytes)
	require.GreaterOrEqual(t, is.TxBytes, was.TxBytes)

	d, err := n.Device(ctx)
	require.NoError(t, err)
	revision := d.Revision()
	again, err := f.Reconcile(ctx, n, all)
	require.NoError(t, err)
	require.Empty(t, append(append(again.Added, again.Updated...), again.Removed...))
	require.Equal(t, revision, d.Revision(), "a second reconcile writes nothing")
}

// One dead node delays and hides nothing of the others.
func TestADeadNodeIsUnknownAndTheOthersAreNot(t *testing.T) {
	ctx := t.Context()
	f := start(t, "berlin", "lisbon")
	require.NoError(t, f.Call(ctx, "POST", "/api/nodes", map[string]any{"name": "dead", "agent_url": "http://127.0.0.1:1"}, nil))
	require.NoError(t, f.Nodes[1].Change(ctx, engine.Changes{Peers: []engine.PeerChange{{After: &engine.Peer{PublicKey: key(t).PublicKey()}}}}))
	var reports struct {
		Nodes   map[string]panelclient.Report
		Summary map[string]int
	}
	require.NoError(t, f.Call(ctx, "GET", "/api/drift/nodes", nil, &reports))
	require.Equal(t, map[string]int{
		"total_nodes": 3, "nodes_with_drift": 1, "nodes_unknown": 1, "nodes_disabled": 0, "total_issues": 1,
	}, reports.Summary)
	require.Equal(t, panelclient.InSync, reports.Nodes[f.Nodes[0].ID].Status)
	require.Equal(t, panelclient.Drifted, reports.Nodes[f.Nodes[1].ID].Status)
}

func TestCloseLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	f, err := Start(t.Context(), "berlin", "lisbon")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoDirExists(t, f.dir)
}

// The reconcile of missing peers, end to end through REST, beside what wireguard-go alone takes to
// build the same peers.
func BenchmarkReconcileMissing(b *testing.B) {
	for _, count := range []int{10, 1000} {
		b.Run(fmt.Sprintf("peers=%d", count), func(b *testing.B) {
			f := start(b, "berlin")
			n := f.Nodes[0]
			n.allowPool(b, f)
			peers := addPeers(b, f, n, count)
			var reconcile, alone time.Duration
			for b.Loop() {
				b.StopTimer()
				var gone engine.Changes
				for _, p := range peers {
					gone.Peers = append(gone.Peers, engine.PeerChange{Before: &p})
				}
				require.NoError(b, n.Change(b.Context(), gone))
				alone += deviceAlone(b, peers)
				begin := time.Now()
				b.StartTimer()
				done, err := f.Reconcile(b.Context(), n, all)
				b.StopTimer()
				reconcile += time.Since(begin)
				require.NoError(b, err)
				require.True(b, done.Verified)
				require.Len(b, done.Added, count)
				b.StartTimer()
			}
			b.ReportMetric(float64(alone.Nanoseconds())/float64(b.N), "ns/device-alone")
			b.ReportMetric(float64(reconcile)/float64(alone), "x-of-device-alone")
		})
	}
}

// allowPool gives the node room for more than a /24 of peers.
func (n *Node) allowPool(t testing.TB, f *Fleet) {
	require.NoError(t, f.Call(t.Context(), "PUT", "/api/nodes/"+n.ID, map[string]any{"ip_pool_cidr": "10.8.0.0/16"}, nil))
}

// deviceAlone measures one configuration of a bare wireguard-go.
func deviceAlone(b *testing.B, peers []engine.Peer) time.Duration {
	b.Helper()
	tun, _, err := netstack.CreateNetTUN([]netip.Addr{netip.MustParseAddr("10.8.0.1")}, nil, device.DefaultMTU)
	require.NoError(b, err)
	d := device.NewDevice(tun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	defer d.Close()
	private := key(b).Reveal()
	require.NoError(b, d.IpcSet(fmt.Sprintf("private_key=%x\n", private[:])))
	require.NoError(b, d.Up())
	var text strings.Builder
	for _, p := range peers {
		psk := p.PresharedKey.Reveal()
		fmt.Fprintf(&text, "public_key=%x\npreshared_key=%x\npersistent_keepalive_interval=%d\n", p.PublicKey[:], psk[:], p.PersistentKeepalive)
		for _, ip := range p.AllowedIPs {
			fmt.Fprintf(&text, "allowed_ip=%s\n", ip)
		}
	}
	begin := time.Now()
	require.NoError(b, d.IpcSet(text.String()))
	return time.Since(begin)
}
