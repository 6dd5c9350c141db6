package panel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// benchWorld is a panel whose node has n peers, in sync.
func benchWorld(b *testing.B, n int) *world {
	b.Helper()
	w := newWorld(b)
	_, err := w.UpdateNode(b.Context(), w.id, NodeInput{IPPoolCIDR: new("10.0.0.0/8")})
	require.NoError(b, err)
	for from := 0; from < n; from += 200 {
		require.NoError(b, w.store.Update(b.Context(), func(tx store.Tx) error {
			for i := from; i < min(from+200, n); i++ {
				id, err := store.NewID(w.now(), w.o.Rand)
				if err != nil {
					return err
				}
				var k wgtypes.Key
				k[0], k[1], k[2] = byte(i), byte(i>>8), 1
				a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
				if err := insertPeer(tx, Peer{ID: id, NodeID: w.id, PublicKey: k, AllowedIPs: []netip.Prefix{netip.PrefixFrom(a, 32)}, Enabled: true}); err != nil {
					return err
				}
			}
			r, err := getNode(tx, w.id)
			if err != nil {
				return err
			}
			r.Revision, r.PeerCount = r.Revision+1, n
			return nodeTable.Put(tx, w.id, r)
		}))
	}
	r, err := w.Reconcile(b.Context(), w.id, everything)
	require.NoError(b, err)
	require.True(b, r.Verified)
	return w
}

var benchSizes = []int{10, 1000, 10_000}

// BenchmarkDriftOfACleanNode is one 304 and what the panel does around it.
func BenchmarkDriftOfACleanNode(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := benchWorld(b, n)
			b.ReportAllocs()
			for b.Loop() {
				r, err := w.Drift(b.Context(), w.id)
				if err != nil || r.Status != drift.InSync {
					b.Fatal(r.Status, r.Error, err)
				}
			}
		})
	}
}

// BenchmarkDriftOfOnePeer reads and compares the whole node.
func BenchmarkDriftOfOnePeer(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := benchWorld(b, n)
			w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger")}})
			b.ReportAllocs()
			for b.Loop() {
				r, err := w.Drift(b.Context(), w.id)
				if err != nil || len(r.Unknown) != 1 {
					b.Fatal(r.Status, r.Error, err)
				}
			}
		})
	}
}

// BenchmarkCreatePeer adds one peer to a node that has n: record, address, push.
func BenchmarkCreatePeer(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := benchWorld(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.CreatePeer(b.Context(), w.id, PeerInput{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReconcileMissing puts 1,000 peers on a node that has none.
func BenchmarkReconcileMissing(b *testing.B) {
	w := benchWorld(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		w.write(engine.DiffPeers(w.peers(), nil, engine.DiffOptions{RemoveUnknown: true})...)
		b.StartTimer()
		r, err := w.Reconcile(b.Context(), w.id, everything)
		if err != nil || len(r.Added) != 1000 || !r.Verified {
			b.Fatal(err)
		}
	}
}
