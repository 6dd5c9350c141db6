package engine_test

import (
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// Generators draw from small sets, so that two draws often name the same peer or prefix.

var anyPrefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
	if rapid.Bool().Draw(t, "six") {
		a := [16]byte{0: 0xfd, 15: byte(rapid.IntRange(0, 20).Draw(t, "host"))}
		return netip.PrefixFrom(netip.AddrFrom16(a), rapid.SampledFrom([]int{0, 64, 127, 128}).Draw(t, "bits"))
	}
	a := [4]byte{10, 0, 0, byte(rapid.IntRange(0, 20).Draw(t, "host"))}
	return netip.PrefixFrom(netip.AddrFrom4(a), rapid.SampledFrom([]int{0, 8, 31, 32}).Draw(t, "bits"))
})

var anySecret = rapid.Custom(func(t *rapid.T) engine.SecretKey {
	return engine.NewSecretKey(wgtypes.Key{5: byte(rapid.IntRange(0, 2).Draw(t, "secret"))})
})

// anyPeers are normalized peers of distinct keys; a prefix may be with two of them.
func anyPeers(most int) *rapid.Generator[[]engine.Peer] {
	return rapid.Custom(func(t *rapid.T) []engine.Peer {
		keys := rapid.SliceOfNDistinct(rapid.IntRange(0, 2*most), 0, most, rapid.ID).Draw(t, "peers")
		peers := make([]engine.Peer, len(keys))
		for i, k := range keys {
			peers[i] = engine.Peer{
				PublicKey:           enginetest.PeerKey(k),
				PresharedKey:        anySecret.Draw(t, "preshared"),
				AllowedIPs:          rapid.SliceOfN(anyPrefix, 0, 3).Draw(t, "allowed"),
				PersistentKeepalive: rapid.SampledFrom([]int{0, 1, 25, 65535}).Draw(t, "keepalive"),
			}
		}
		return engine.NormalizePeers(peers)
	})
}

// validPeers are anyPeers whose prefixes have one holder each.
func validPeers(most int) *rapid.Generator[[]engine.Peer] {
	return rapid.Custom(func(t *rapid.T) []engine.Peer {
		peers := anyPeers(most).Draw(t, "any")
		taken := make(map[netip.Prefix]bool)
		for i := range peers {
			mine := []netip.Prefix{}
			for _, ip := range peers[i].AllowedIPs {
				if !taken[ip] {
					mine, taken[ip] = append(mine, ip), true
				}
			}
			peers[i].AllowedIPs = mine
		}
		return peers
	})
}

func mustKey(t testing.TB, s string) wgtypes.Key {
	t.Helper()
	k, err := engine.ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
