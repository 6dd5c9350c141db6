package panel

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// drawPeers draws peers no two of which hold the same prefix; the two sides draw from the same keys
// and prefixes.
func drawPeers(t *rapid.T, label string) []engine.Peer {
	numbers := make([]int, 24)
	for i := range numbers {
		numbers[i] = i
	}
	free := rapid.Permutation(numbers).Draw(t, label+" prefixes")
	var out []engine.Peer
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 9), 0, 8, rapid.ID[int]).Draw(t, label) {
		p := engine.Peer{
			PublicKey:           publicKey(fmt.Sprint("random ", n)),
			PersistentKeepalive: rapid.SampledFrom([]int{0, 21, 25}).Draw(t, "keepalive"),
		}
		if k := rapid.IntRange(0, 2).Draw(t, "psk"); k > 0 {
			p.PresharedKey = testKey(fmt.Sprint("psk ", k))
		}
		for range rapid.IntRange(0, 3).Draw(t, "ips") {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(free[0]), 0}), 24))
			free = free[1:]
		}
		out = append(out, p)
	}
	return engine.NormalizePeers(out)
}

// Whatever is wanted and whatever is there: one reconcile makes the device as wanted, keeps unknown
// peers unless asked, and a second one writes nothing.
func TestReconcileMakesTheDeviceAsWanted(t *testing.T) {
	h := newHost(t, nil)
	s, _, _ := newService(t, nil)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		want, have := drawPeers(rt, "desired"), drawPeers(rt, "observed")
		prune := rapid.Bool().Draw(rt, "prune")
		atomic := rapid.Bool().Draw(rt, "atomic")
		n, _, err := s.CreateNode(t.Context(), NodeInput{
			Name: new(fmt.Sprint("round ", round)), AgentURL: &h.proxy.URL, Secret: new(testSecret), Enabled: new(false),
		})
		require.NoError(rt, err)
		defer func() { require.NoError(rt, s.DeleteNode(t.Context(), n.ID)) }()
		for _, p := range want {
			ips := []string{}
			for _, ip := range p.AllowedIPs {
				ips = append(ips, ip.String())
			}
			in := PeerInput{PublicKey: new(p.PublicKey.String()), AllowedIPs: &ips, Keepalive: set(p.PersistentKeepalive), AllowOffline: true}
			if !p.PresharedKey.IsZero() {
				in.PresharedKey = set(p.PresharedKey.Reveal().String())
			}
			_, err := s.CreatePeer(t.Context(), n.ID, in)
			require.NoError(rt, err)
		}
		before := h.peers()
		h.write(engine.DiffPeers(before, nil, engine.DiffOptions{RemoveUnknown: true})...)
		h.write(engine.DiffPeers(nil, have, engine.DiffOptions{})...)
		_, err = s.UpdateNode(t.Context(), n.ID, NodeInput{Enabled: new(true)})
		require.NoError(rt, err)

		o := ReconcileOptions{Missing: true, Mismatched: true, PruneOrphaned: prune, PruneForeign: prune, Atomic: atomic, AllowMassRemoval: true}
		r, err := s.Reconcile(t.Context(), n.ID, o)
		require.NoError(rt, err)
		require.Empty(rt, r.Errors)
		require.True(rt, r.Verified)

		after := h.peers()
		for _, p := range want {
			got, ok := engine.Lookup(after, p.PublicKey)
			require.True(rt, ok)
			require.Equal(rt, p, got)
		}
		unknown := 0
		for _, p := range have {
			if _, wanted := engine.Lookup(want, p.PublicKey); !wanted {
				unknown++
			}
		}
		if prune {
			unknown = 0
		}
		require.Len(rt, after, len(want)+unknown)
		report, err := s.Drift(t.Context(), n.ID)
		require.NoError(rt, err)
		require.Equal(rt, unknown > 0, report.Status == drift.Drifted)
		writes := h.writes.Load()
		again, err := s.Reconcile(t.Context(), n.ID, o)
		require.NoError(rt, err)
		require.True(rt, again.Verified)
		require.Equal(rt, writes, h.writes.Load(), "a second reconcile writes nothing")
		require.True(rt, slices.EqualFunc(after, h.peers(), func(a, b engine.Peer) bool { return engine.SamePeer(a, b) }))
	})
}
