package engine_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

// TestFingerprintSeesWhatTheDigestsSee: equal fingerprints and equal digests are one, in any order of
// peers and of their allowed IPs.
func TestFingerprintSeesWhatTheDigestsSee(t *testing.T) {
	mac := engine.DeriveMACKey([]byte("shared"))
	rapid.Check(t, func(t *rapid.T) {
		peers := engine.NormalizePeers(anyPeers(5).Draw(t, "peers"))
		before := engine.FingerprintOf(engine.State{Peers: peers})
		shuffled := rapid.Permutation(peers).Draw(t, "order")
		for i := range shuffled {
			shuffled[i].AllowedIPs = rapid.Permutation(shuffled[i].AllowedIPs).Draw(t, "allowed IPs")
			shuffled[i].Endpoint = netip.MustParseAddrPort("192.0.2.1:5")
		}
		require.Equal(t, before, engine.FingerprintOf(engine.State{Peers: shuffled}))
		other := engine.NormalizePeers(anyPeers(5).Draw(t, "other"))
		same := engine.Digest(peers, mac) == engine.Digest(other, mac)
		require.Equal(t, same, engine.FingerprintOf(engine.State{Peers: other}) == before)
	})
}

func TestFingerprintSeesEveryField(t *testing.T) {
	p := netip.MustParsePrefix
	base := func() engine.State {
		return engine.State{
			Interface: engine.Interface{Name: "wg0", PrivateKey: engine.NewSecretKey(wgtypes.Key{8, 1}).Clamped(), ListenPort: 1, FwMark: 2, Addresses: []netip.Prefix{p("10.0.0.1/24")}, MTU: 1420},
			Peers: []engine.Peer{
				{PublicKey: wgtypes.Key{1}, AllowedIPs: []netip.Prefix{p("10.0.0.2/32"), p("10.0.0.3/32")}, PersistentKeepalive: 25},
				{PublicKey: wgtypes.Key{2}, PresharedKey: engine.NewSecretKey(wgtypes.Key{3})},
			},
		}
	}
	seen := map[engine.Fingerprint]string{engine.FingerprintOf(base()): "nothing"}
	for what, change := range map[string]func(*engine.State){
		"private key":        func(s *engine.State) { s.Interface.PrivateKey = engine.NewSecretKey(wgtypes.Key{8, 2}) },
		"listen port":        func(s *engine.State) { s.Interface.ListenPort = 9 },
		"fwmark":             func(s *engine.State) { s.Interface.FwMark = 9 },
		"addresses":          func(s *engine.State) { s.Interface.Addresses = nil },
		"the address's mask": func(s *engine.State) { s.Interface.Addresses[0] = p("10.0.0.1/25") },
		"MTU":                func(s *engine.State) { s.Interface.MTU = 9 },
		"a peer less":        func(s *engine.State) { s.Peers = s.Peers[1:] },
		"a peer more":        func(s *engine.State) { s.Peers = append(s.Peers, engine.Peer{PublicKey: wgtypes.Key{9}}) },
		"preshared key":      func(s *engine.State) { s.Peers[1].PresharedKey = engine.NewSecretKey(wgtypes.Key{4}) },
		"no preshared key":   func(s *engine.State) { s.Peers[1].PresharedKey = engine.SecretKey{} },
		"keepalive":          func(s *engine.State) { s.Peers[0].PersistentKeepalive = 26 },
		"an allowed IP less": func(s *engine.State) { s.Peers[0].AllowedIPs = s.Peers[0].AllowedIPs[1:] },
		"an allowed IP's mask": func(s *engine.State) {
			s.Peers[0].AllowedIPs = []netip.Prefix{p("10.0.0.2/31"), p("10.0.0.3/32")}
		},
		"an allowed IP that moved": func(s *engine.State) {
			s.Peers[1].AllowedIPs, s.Peers[0].AllowedIPs = s.Peers[0].AllowedIPs[:1], s.Peers[0].AllowedIPs[1:]
		},
		"IPv6 that looks like IPv4": func(s *engine.State) {
			s.Peers[0].AllowedIPs = []netip.Prefix{p("::ffff:10.0.0.2/32"), p("10.0.0.3/32")}
		},
	} {
		s := base()
		change(&s)
		f := engine.FingerprintOf(s)
		require.Empty(t, seen[f], "%s reads like another", what)
		seen[f] = what
	}
	s := base()
	s.Interface.Name = "other" // a name is no configuration, and private keys are clamped
	s.Interface.PrivateKey = engine.NewSecretKey(wgtypes.Key{15, 1})
	slices.Reverse(s.Peers)
	require.Equal(t, engine.FingerprintOf(base()), engine.FingerprintOf(s))
	require.Equal(t, "(secret) (secret)", fmt.Sprintf("%v %#v", engine.FingerprintOf(s), engine.FingerprintOf(s)))
}

// BenchmarkFingerprint beside BenchmarkDigest is what a look at a device saves of hashing.
func BenchmarkFingerprint(b *testing.B) {
	bySize(b, func(b *testing.B, peers []engine.Peer) {
		b.Helper()
		for b.Loop() {
			engine.FingerprintOf(engine.State{Peers: peers})
		}
	})
}
