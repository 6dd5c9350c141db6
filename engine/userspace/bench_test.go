package userspace

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

var sizes = []int{10, 1_000, 10_000}

// filled is a netstack device with n peers.
func filled(b *testing.B, n int) *Device {
	b.Helper()
	made, err := NewNetstack(Options{}).Create(b.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(b)})
	require.NoError(b, err)
	b.Cleanup(func() { _ = made.Close(b.Context()) })
	d := made.(*Device)
	require.NoError(b, d.Configure(b.Context(), engine.Changes{Peers: engine.DiffPeers(nil, enginetest.Peers(n), engine.DiffOptions{})}))
	return d
}

func BenchmarkObserve(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := filled(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Observe(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParse is the part of Observe that is ours.
func BenchmarkParse(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			require.NoError(b, filled(b, n).dev.IpcGetOperation(&text))
			b.ReportAllocs()
			b.SetBytes(int64(text.Len()))
			for b.Loop() {
				if _, err := parse(text.String()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkApplyOne adds a peer to a device of n and removes it again, each with its reading back.
func BenchmarkApplyOne(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d := filled(b, n)
			all := enginetest.Peers(n + 1)
			o, err := d.Observe(b.Context())
			require.NoError(b, err)
			with := engine.DiffPeers(o.Peers, all, engine.DiffOptions{})
			without := engine.DiffPeers(all, o.Peers, engine.DiffOptions{RemoveUnknown: true})
			b.ReportAllocs()
			for b.Loop() {
				for _, c := range [][]engine.PeerChange{with, without} {
					if _, err := engine.Apply(b.Context(), d, o.State, engine.Changes{Peers: c}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkApplyAll fills an empty device.
func BenchmarkApplyAll(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			changes := engine.Changes{Peers: engine.DiffPeers(nil, enginetest.Peers(n), engine.DiffOptions{})}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				d := filled(b, 0)
				o, err := d.Observe(b.Context())
				require.NoError(b, err)
				b.StartTimer()
				if _, err := engine.Apply(b.Context(), d, o.State, changes); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				require.NoError(b, d.Close(b.Context()))
				b.StartTimer()
			}
		})
	}
}
