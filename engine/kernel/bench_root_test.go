//go:build root

package kernel_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// One peer added to a device of another process, as the agent does it: read, change, read back; in
// dumps, which is what a full read alone costs. Run it with make bench-tun.
func BenchmarkAddPeerToForeignDevice(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			f := newForeign(b)
			d, err := f.Create(b.Context(), engine.Interface{Name: "wgb0", PrivateKey: enginetest.PrivateKey(b)})
			require.NoError(b, err)
			defer d.Close(b.Context())
			all := engine.NormalizePeers(enginetest.Peers(count + 1))
			added := all[count]
			set := func(peers ...engine.PeerChange) {
				require.NoError(b, d.Configure(b.Context(), engine.Changes{Peers: peers}))
			}
			for i := range all[:count] {
				set(engine.PeerChange{After: &all[i]})
			}
			var dump, add time.Duration
			for b.Loop() {
				begin := time.Now()
				before, err := d.Observe(b.Context())
				require.NoError(b, err)
				dump += time.Since(begin)
				_, err = engine.Apply(b.Context(), d, before.State, engine.Changes{Peers: []engine.PeerChange{{After: &added}}})
				require.NoError(b, err)
				add += time.Since(begin)
				b.StopTimer()
				set(engine.PeerChange{Before: &added})
				b.StartTimer()
			}
			b.ReportMetric(float64(add)/float64(dump), "dumps")
		})
	}
}

// A look at a device of another process that did not change, as a held request costs it each second: by its
// fingerprint, and by a full read with its digest, which is the other way to know.
func BenchmarkLookAtForeignDevice(b *testing.B) {
	for _, count := range []int{10, 1000, 10000} {
		f := newForeign(b)
		d, err := f.Create(b.Context(), engine.Interface{Name: "wgb0", PrivateKey: enginetest.PrivateKey(b)})
		require.NoError(b, err)
		all := enginetest.Peers(count)
		for i := range all {
			require.NoError(b, d.Configure(b.Context(), engine.Changes{Peers: []engine.PeerChange{{After: &all[i]}}}))
		}
		b.Run(fmt.Sprintf("%d/fingerprint", count), func(b *testing.B) {
			look := d.(engine.Fingerprinter)
			b.ReportAllocs()
			for b.Loop() {
				_, err := look.Fingerprint(b.Context())
				require.NoError(b, err)
			}
		})
		b.Run(fmt.Sprintf("%d/read", count), func(b *testing.B) {
			mac := engine.DeriveMACKey([]byte("shared"))
			b.ReportAllocs()
			for b.Loop() {
				o, err := d.Observe(b.Context())
				require.NoError(b, err)
				engine.Digest(o.Peers, mac)
			}
		})
		require.NoError(b, d.Close(b.Context()))
	}
}
