package engine_test

import (
	"fmt"
	"testing"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

var sizes = []int{10, 1_000, 10_000}

// keyed are n peers with preshared keys.
func keyed(b *testing.B, n int) []engine.Peer {
	b.Helper()
	peers := enginetest.Peers(n)
	psk := enginetest.PresharedKey(b)
	for i := range peers {
		peers[i].PresharedKey = psk
	}
	return peers
}

func bySize(b *testing.B, run func(b *testing.B, peers []engine.Peer)) {
	b.Helper()
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			peers := keyed(b, n)
			b.ReportAllocs()
			run(b, peers)
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	mac := engine.DeriveMACKey([]byte("shared"))
	bySize(b, func(b *testing.B, peers []engine.Peer) {
		b.Helper()
		for b.Loop() {
			engine.Digest(peers, mac)
		}
	})
}

func BenchmarkNormalize(b *testing.B) {
	bySize(b, func(b *testing.B, peers []engine.Peer) {
		b.Helper()
		for b.Loop() {
			engine.NormalizePeers(peers)
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	bySize(b, func(b *testing.B, peers []engine.Peer) {
		b.Helper()
		for b.Loop() {
			if err := engine.Validate(engine.State{Peers: peers}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDiffOfOne(b *testing.B) {
	bySize(b, func(b *testing.B, peers []engine.Peer) {
		b.Helper()
		have := append(peers[:len(peers)/2:len(peers)/2], peers[len(peers)/2+1:]...)
		for b.Loop() {
			if c := engine.DiffPeers(have, peers, engine.DiffOptions{RemoveUnknown: true}); len(c) != 1 {
				b.Fatal(len(c))
			}
		}
	})
}

func BenchmarkPatchOfOne(b *testing.B) {
	bySize(b, func(b *testing.B, peers []engine.Peer) {
		b.Helper()
		change := []engine.PeerChange{{Before: &peers[0], After: &peers[0]}}
		for b.Loop() {
			engine.Patch(peers, change)
		}
	})
}
