package engine_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

var prune = engine.DiffOptions{RemoveUnknown: true}

func TestDiffThenPatchIsTheWantedState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := anyPeers(6).Draw(t, "have"), anyPeers(6).Draw(t, "want")
		changes := engine.DiffPeers(have, want, prune)
		before := slices.Clone(have)
		require.Equal(t, want, engine.Patch(have, changes))
		require.Equal(t, before, have)
		require.Empty(t, engine.DiffPeers(want, want, prune), "what is as wanted is not touched")

		kept := engine.Patch(have, engine.DiffPeers(have, want, engine.DiffOptions{}))
		for _, p := range have {
			if _, wanted := engine.Lookup(want, p.PublicKey); !wanted {
				got, there := engine.Lookup(kept, p.PublicKey)
				require.True(t, there, "nothing is removed that nobody asked to remove")
				require.Equal(t, p, got)
			}
		}
		for _, p := range want {
			got, _ := engine.Lookup(kept, p.PublicKey)
			require.Equal(t, p, got)
		}
	})
}

func TestPatchKeepsEndpointsThatNobodyNames(t *testing.T) {
	known, named := netip.MustParseAddrPort("192.0.2.1:5"), netip.MustParseAddrPort("192.0.2.2:6")
	for _, n := range []int{1, 100} {
		have := enginetest.Peers(n)
		var changes []engine.PeerChange
		for i := range have {
			have[i].Endpoint = known
			after := have[i]
			after.Endpoint, after.PersistentKeepalive = netip.AddrPort{}, 25
			if i == 0 {
				after.Endpoint = named
			}
			changes = append(changes, engine.PeerChange{Before: &have[i], After: &after})
		}
		slices.Reverse(changes)
		for i, p := range engine.Patch(have, changes) {
			require.Equal(t, 25, p.PersistentKeepalive)
			require.Equal(t, i == 0, p.Endpoint == named)
			require.Equal(t, i != 0, p.Endpoint == known)
		}
	}
}

// The oracle is slow and obvious: two maps.
func TestDiffIsMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		have, want := anyPeers(6).Draw(t, "have"), anyPeers(6).Draw(t, "want")
		old, wanted := map[wgtypes.Key]engine.Peer{}, map[wgtypes.Key]engine.Peer{}
		for _, p := range have {
			old[p.PublicKey] = p
		}
		for _, p := range want {
			wanted[p.PublicKey] = p
		}
		var added, updated, removed int
		for k, p := range wanted {
			before, known := old[k]
			switch {
			case !known:
				added++
			case !engine.SamePeer(before, p):
				updated++
			}
		}
		for k := range old {
			if _, stays := wanted[k]; !stays {
				removed++
			}
		}
		c := engine.Changes{Peers: engine.DiffPeers(have, want, prune)}
		a, u, r := c.Count()
		require.Equal(t, []int{added, updated, removed}, []int{a, u, r})
		require.Equal(t, a+u+r == 0, c.Empty())
		for i, p := range c.Peers {
			require.Equal(t, i < r, p.After == nil, "removals come first")
		}
	})
}

func TestSamePeer(t *testing.T) {
	base := engine.Peer{PublicKey: wgtypes.Key{1}, AllowedIPs: enginetest.Peers(1)[0].AllowedIPs, Endpoint: netip.MustParseAddrPort("1.2.3.4:5")}
	for name, c := range map[string]struct {
		edit func(*engine.Peer)
		same bool
	}{
		"itself":           {func(*engine.Peer) {}, true},
		"no endpoint said": {func(p *engine.Peer) { p.Endpoint = netip.AddrPort{} }, true},
		"other endpoint":   {func(p *engine.Peer) { p.Endpoint = netip.MustParseAddrPort("1.2.3.4:6") }, false},
		"keepalive":        {func(p *engine.Peer) { p.PersistentKeepalive = 1 }, false},
		"preshared key":    {func(p *engine.Peer) { p.PresharedKey = engine.NewSecretKey(wgtypes.Key{1}) }, false},
		"allowed IPs":      {func(p *engine.Peer) { p.AllowedIPs = nil }, false},
		"public key":       {func(p *engine.Peer) { p.PublicKey[9]++ }, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := base
			c.edit(&want)
			require.Equal(t, c.same, engine.SamePeer(base, want))
		})
	}
}

func TestDiffOfTheInterface(t *testing.T) {
	have := engine.Interface{
		Name: "wg0", PrivateKey: enginetest.PrivateKey(t), ListenPort: 51820, FwMark: 1, MTU: 1420,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")},
	}
	for name, c := range map[string]struct {
		edit func(*engine.Interface)
		same bool
	}{
		"itself":             {func(*engine.Interface) {}, true},
		"any port will do":   {func(i *engine.Interface) { i.ListenPort = 0 }, true},
		"any MTU will do":    {func(i *engine.Interface) { i.MTU = 0 }, true},
		"order of addresses": {func(i *engine.Interface) { slices.Reverse(i.Addresses) }, true},
		"port":               {func(i *engine.Interface) { i.ListenPort++ }, false},
		"MTU":                {func(i *engine.Interface) { i.MTU++ }, false},
		"fwmark":             {func(i *engine.Interface) { i.FwMark = 0 }, false},
		"private key":        {func(i *engine.Interface) { i.PrivateKey = engine.SecretKey{} }, false},
		"addresses":          {func(i *engine.Interface) { i.Addresses = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := have
			want.Addresses = slices.Clone(have.Addresses)
			c.edit(&want)
			change := engine.Diff(engine.State{Interface: have}, engine.State{Interface: want}, prune)
			require.Equal(t, c.same, change.Interface == nil)
			require.Equal(t, c.same, change.Empty())
		})
	}
	unclamped := have.PrivateKey.Reveal()
	unclamped[0] |= 7
	want := have
	want.PrivateKey = engine.NewSecretKey(unclamped)
	require.True(t, engine.Diff(engine.State{Interface: have}, engine.State{Interface: want}, prune).Empty(),
		"every device reads back a clamped key")
}
