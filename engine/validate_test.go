package engine_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func TestValidateName(t *testing.T) {
	for _, good := range []string{"wg0", "a", "wg_0=+.-", "exactly15chars0", "..a"} {
		require.NoError(t, engine.ValidateName(good), good)
	}
	for _, bad := range []string{"", ".", "..", "all", "default", "interfaces", "help", "-wg0", "a/b", "wg 0", "wg0\n", "sixteen-chars-00", "wg%d", "ü", strings.Repeat("x", 1000)} {
		err := engine.ValidateName(bad)
		var field *engine.FieldError
		require.ErrorAs(t, err, &field, bad)
		require.Equal(t, "interface", field.Field)
		require.Less(t, len(err.Error()), 200)
	}
}

func TestValidate(t *testing.T) {
	key := enginetest.PrivateKey(t)
	p := netip.MustParsePrefix
	peer := func(n int, ips ...netip.Prefix) engine.Peer {
		return engine.Peer{PublicKey: enginetest.PeerKey(n), AllowedIPs: ips}
	}
	with := func(peers ...engine.Peer) engine.State { return engine.State{Peers: peers} }
	for _, c := range []struct {
		name  string
		state engine.State
		field string // "": valid
	}{
		{"nothing", engine.State{}, ""},
		{"nested prefixes", with(peer(0, p("10.0.0.0/8")), peer(1, p("10.0.0.0/16"), p("10.0.0.1/32"))), ""},
		{"zero key", with(engine.Peer{}), "public_key"},
		{"twice", with(peer(0), peer(0)), "public_key"},
		{"own key", engine.State{Interface: engine.Interface{PrivateKey: key}, Peers: []engine.Peer{{PublicKey: key.PublicKey()}}}, "public_key"},
		{"keepalive too long", with(engine.Peer{PublicKey: enginetest.PeerKey(0), PersistentKeepalive: 65536}), "persistent_keepalive"},
		{"keepalive negative", with(engine.Peer{PublicKey: enginetest.PeerKey(0), PersistentKeepalive: -1}), "persistent_keepalive"},
		{"no prefix", with(peer(0, netip.Prefix{})), "allowed_ips"},
		{"MTU", engine.State{Interface: engine.Interface{MTU: 575}}, "mtu"},
		{"MTU for IPv6", engine.State{Interface: engine.Interface{MTU: 1279, Addresses: []netip.Prefix{p("fd00::1/64")}}}, "mtu"},
		{"MTU just enough", engine.State{Interface: engine.Interface{MTU: 576, Addresses: []netip.Prefix{p("10.0.0.1/24")}}}, ""},
		{"MTU too much", engine.State{Interface: engine.Interface{MTU: 65536}}, "mtu"},
		{"address", engine.State{Interface: engine.Interface{Addresses: []netip.Prefix{{}}}}, "addresses"},
		{"too many", with(make([]engine.Peer, engine.MaxPeers+1)...), "peers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := engine.Validate(engine.Normalize(c.state))
			if c.field == "" {
				require.NoError(t, err)
				return
			}
			var field *engine.FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, c.field, field.Field)
			require.NotContains(t, err.Error(), key.Reveal().String())
		})
	}
}

func TestValidateNamesBothHoldersOfAPrefix(t *testing.T) {
	ip := netip.MustParsePrefix("10.0.0.1/32")
	s := engine.Normalize(engine.State{Peers: []engine.Peer{
		{PublicKey: wgtypes.Key{1}, AllowedIPs: []netip.Prefix{ip}},
		{PublicKey: wgtypes.Key{2}, AllowedIPs: []netip.Prefix{ip}},
	}})
	var conflict *engine.ConflictError
	require.ErrorAs(t, engine.Validate(s), &conflict)
	require.Equal(t, engine.ConflictError{Prefix: ip, Holder: wgtypes.Key{1}, Wanted: wgtypes.Key{2}}, *conflict)
	require.ErrorContains(t, conflict, "10.0.0.1/32")
	require.ErrorContains(t, conflict, wgtypes.Key{1}.String())
	require.ErrorContains(t, conflict, wgtypes.Key{2}.String())
}
