package engine_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

const aKey = "HhvuS5kX7kuqhlwnvbX8UjYEmyQr3hYuLgPnzRMdmVM="

func TestParseKey(t *testing.T) {
	k := mustKey(t, aKey)
	require.Equal(t, aKey, k.String())
	for name, s := range map[string]string{
		"empty": "", "short": "AAAA", "hex": strings.Repeat("ab", 32), "no padding": aKey[:43],
		"spaces": " " + aKey, "newline inside": aKey[:20] + "\n" + aKey[20:43], "url alphabet": strings.Repeat("_", 43) + "=",
		"loose last bits": aKey[:42] + "N=", "33 bytes": strings.Repeat("A", 44), "31 bytes": strings.Repeat("A", 42) + "==",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := engine.ParseKey(s)
			require.Error(t, err)
		})
	}
}

func TestParsePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"10.8.0.2": "10.8.0.2/32", "10.8.0.2/24": "10.8.0.0/24", "0.0.0.0/0": "0.0.0.0/0", " fd00::2/128 ": "fd00::2/128",
		"fd00::2": "fd00::2/128", "FD00:0:0::2/64": "fd00::/64", "::ffff:10.0.0.1": "10.0.0.1/32", "::ffff:10.0.0.1/104": "10.0.0.0/8",
	} {
		p, err := engine.ParsePrefix(in)
		require.NoError(t, err, in)
		require.Equal(t, want, p.String(), in)
	}
	for _, in := range []string{"", "10.8.0.2/33", "10.8.0/24", "10.8.0.2/-1", "10.8.0.2/", "fe80::1%eth0", "fe80::1%eth0/64", "host/32", "::ffff:10.0.0.1/95", "010.0.0.1/8"} {
		_, err := engine.ParsePrefix(in)
		require.Error(t, err, in)
	}
	a, err := engine.ParseAddress("10.8.0.2/24")
	require.NoError(t, err)
	require.Equal(t, "10.8.0.2/24", a.String())
}

func FuzzParsePrefix(f *testing.F) {
	for _, s := range []string{"10.8.0.2/24", "fd00::/64", "::ffff:1.2.3.4/120", "1.2.3.4", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := engine.ParsePrefix(s)
		if err != nil {
			return
		}
		require.True(t, p.IsValid())
		require.Equal(t, p, p.Masked())
		require.False(t, p.Addr().Is4In6())
		again, err := engine.ParsePrefix(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(aKey)
	f.Add(strings.Repeat("A", 44))
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := engine.ParseKey(s); err == nil {
			require.Equal(t, s, k.String(), "one spelling a key")
		}
	})
}

func TestNormalize(t *testing.T) {
	p := netip.MustParsePrefix
	unclamped := engine.NewSecretKey(wgtypes.Key{0: 0xff, 31: 0xff})
	in := engine.State{
		Interface: engine.Interface{PrivateKey: unclamped, Addresses: []netip.Prefix{p("fd00::1/64"), p("10.8.0.1/24"), p("10.8.0.1/24")}},
		Peers: []engine.Peer{
			{PublicKey: wgtypes.Key{2}, AllowedIPs: []netip.Prefix{p("9.0.0.1/8"), p("10.0.0.0/8"), p("9.0.0.0/8")}},
			{PublicKey: wgtypes.Key{1}},
		},
	}
	out := engine.Normalize(in)
	require.Equal(t, []netip.Prefix{p("10.8.0.1/24"), p("fd00::1/64")}, out.Interface.Addresses, "host bits stay")
	require.Equal(t, unclamped.Clamped().Reveal(), out.Interface.PrivateKey.Reveal())
	require.Equal(t, unclamped.PublicKey(), out.Interface.PrivateKey.PublicKey())
	require.Equal(t, wgtypes.Key{1}, out.Peers[0].PublicKey)
	require.NotNil(t, out.Peers[0].AllowedIPs)
	require.Equal(t, []netip.Prefix{p("10.0.0.0/8"), p("9.0.0.0/8")}, out.Peers[1].AllowedIPs, "sorted as strings, masked, once")
	require.Equal(t, p("9.0.0.1/8"), in.Peers[0].AllowedIPs[0], "the argument stays")
}

func TestNormalizeIsIdempotentAndIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		peers := anyPeers(6).Draw(t, "peers")
		require.Equal(t, peers, engine.NormalizePeers(peers))
		shuffled := rapid.Permutation(peers).Draw(t, "order")
		for i := range shuffled {
			shuffled[i].AllowedIPs = rapid.Permutation(shuffled[i].AllowedIPs).Draw(t, "prefixes")
		}
		before := slices.Clone(shuffled)
		require.Equal(t, peers, engine.NormalizePeers(shuffled))
		require.Equal(t, before, shuffled)
	})
}

func TestLookup(t *testing.T) {
	peers := enginetest.Peers(50)
	for _, p := range peers {
		got, ok := engine.Lookup(peers, p.PublicKey)
		require.True(t, ok)
		require.Equal(t, p, got)
	}
	_, ok := engine.Lookup(peers, enginetest.PeerKey(51))
	require.False(t, ok)
	_, ok = engine.Lookup(nil, enginetest.PeerKey(0))
	require.False(t, ok)
}
