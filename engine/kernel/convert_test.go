package kernel

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func ipNet(t *testing.T, s string) net.IPNet {
	_, n, err := net.ParseCIDR(s)
	require.NoError(t, err)
	return *n
}

func TestObservation(t *testing.T) {
	private, psk := enginetest.PrivateKey(t), enginetest.PresharedKey(t)
	seen := time.Unix(1700000000, 0)
	o := observation(&wgtypes.Device{
		Name: "wg0", PrivateKey: private.Reveal(), ListenPort: 51820, FirewallMark: 7,
		Peers: []wgtypes.Peer{
			{PublicKey: wgtypes.Key{2}, LastHandshakeTime: time.Unix(0, 0)},
			{
				PublicKey: wgtypes.Key{1}, PresharedKey: psk.Reveal(), PersistentKeepaliveInterval: 25 * time.Second,
				Endpoint:     &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}, // 16 bytes long
				AllowedIPs:   []net.IPNet{ipNet(t, "10.0.0.2/32"), ipNet(t, "10.0.0.0/8"), ipNet(t, "fd00::/64")},
				ReceiveBytes: 3, TransmitBytes: 4, LastHandshakeTime: seen,
			},
		},
	})
	endpoint, p := netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParsePrefix
	require.Equal(t, engine.Observation{
		State: engine.Normalize(engine.State{
			Interface: engine.Interface{Name: "wg0", PrivateKey: private, ListenPort: 51820, FwMark: 7},
			Peers: []engine.Peer{
				{
					PublicKey: wgtypes.Key{1}, PresharedKey: psk, PersistentKeepalive: 25, Endpoint: endpoint,
					AllowedIPs: []netip.Prefix{p("10.0.0.2/32"), p("10.0.0.0/8"), p("fd00::/64")},
				},
				{PublicKey: wgtypes.Key{2}},
			},
		}),
		Stats: map[wgtypes.Key]engine.Stats{
			{1}: {Endpoint: endpoint, LastHandshake: seen, RxBytes: 3, TxBytes: 4},
			{2}: {},
		},
	}, o)
}

func TestConfigSaysWhatDiffersAndClearsByValue(t *testing.T) {
	old := engine.Peer{PublicKey: wgtypes.Key{1}, PresharedKey: enginetest.PresharedKey(t), PersistentKeepalive: 25, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}}
	bare := engine.Peer{PublicKey: wgtypes.Key{1}}
	require.Equal(t, wgtypes.PeerConfig{PublicKey: wgtypes.Key{1}, UpdateOnly: true},
		peerConfig(engine.PeerChange{Before: &old, After: &old}, nil))
	require.Equal(t, wgtypes.PeerConfig{
		PublicKey: wgtypes.Key{1}, UpdateOnly: true, PresharedKey: &wgtypes.Key{},
		PersistentKeepaliveInterval: new(time.Duration), ReplaceAllowedIPs: true,
	}, peerConfig(engine.PeerChange{Before: &old, After: &bare}, nil))
	require.Equal(t, wgtypes.PeerConfig{PublicKey: wgtypes.Key{1}, UpdateOnly: true, Remove: true},
		peerConfig(engine.PeerChange{Before: &old}, nil))
	added := peerConfig(engine.PeerChange{After: &old}, nil)
	require.False(t, added.UpdateOnly)
	require.True(t, added.ReplaceAllowedIPs)
	require.Equal(t, old.PresharedKey.Reveal(), *added.PresharedKey)
	require.Equal(t, "10.0.0.2/32", added.AllowedIPs[0].String())

	i := engine.Interface{PrivateKey: enginetest.PrivateKey(t), ListenPort: 1, FwMark: 2}
	same := config(engine.Changes{Interface: &engine.InterfaceChange{Before: i, After: i}})
	require.Equal(t, wgtypes.Config{Peers: []wgtypes.PeerConfig{}}, same)
	cleared := config(engine.Changes{Interface: &engine.InterfaceChange{Before: i}})
	require.Equal(t, wgtypes.Config{PrivateKey: &wgtypes.Key{}, ListenPort: new(int), FirewallMark: new(int), Peers: []wgtypes.PeerConfig{}}, cleared)
	require.False(t, cleared.ReplacePeers)
}

// A list of allowed IPs that is replaced is empty for a moment, so it is replaced only where one goes
// that nobody else gets: WireGuard takes it from whoever has it.
func TestAllowedIPsMoveWithoutAGap(t *testing.T) {
	peer := func(n byte, ips ...string) *engine.Peer {
		p := &engine.Peer{PublicKey: wgtypes.Key{n}}
		for _, s := range ips {
			p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(s))
		}
		return p
	}
	type said struct {
		replace bool
		ips     []string
	}
	const a, b, c = "10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"
	for name, x := range map[string]struct {
		changes []engine.PeerChange
		want    []said
	}{
		"one more": {[]engine.PeerChange{{Before: peer(1, a), After: peer(1, a, b)}}, []said{{false, []string{b}}}},
		"one less": {[]engine.PeerChange{{Before: peer(1, a, b), After: peer(1, a)}}, []said{{true, []string{a}}}},
		"one moves": {
			[]engine.PeerChange{{Before: peer(1, a, b), After: peer(1, a)}, {Before: peer(2, c), After: peer(2, b, c)}},
			[]said{{false, nil}, {false, []string{b}}},
		},
		"one moves to a new peer": {
			[]engine.PeerChange{{Before: peer(1, a, b), After: peer(1, a)}, {After: peer(2, b)}},
			[]said{{false, nil}, {true, []string{b}}},
		},
		"one moves and one goes": {
			[]engine.PeerChange{{Before: peer(1, a, b), After: peer(1)}, {Before: peer(2), After: peer(2, a)}},
			[]said{{true, nil}, {false, []string{a}}},
		},
		"two swap": {
			[]engine.PeerChange{{Before: peer(1, a), After: peer(1, b)}, {Before: peer(2, b), After: peer(2, a)}},
			[]said{{false, []string{b}}, {false, []string{a}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []said
			for _, p := range config(engine.Changes{Peers: x.changes}).Peers {
				s := said{replace: p.ReplaceAllowedIPs}
				for _, ip := range p.AllowedIPs {
					s.ips = append(s.ips, ip.String())
				}
				got = append(got, s)
			}
			require.Equal(t, x.want, got)
		})
	}
}

func TestErrorsAreOurs(t *testing.T) {
	require.ErrorIs(t, deviceError("observe", "wg0", os.ErrNotExist), engine.ErrUnknownInterface)
	require.ErrorIs(t, deviceError("observe", "wg0", syscall.EPERM), engine.ErrNotPermitted)
	require.ErrorIs(t, deviceError("configure", "wg0", syscall.EADDRINUSE), engine.ErrPortInUse)
	require.ErrorIs(t, linkError("make a link", syscall.EPERM), engine.ErrNotPermitted)
	require.ErrorIs(t, linkError("make a link", syscall.EEXIST), engine.ErrInterfaceExists)
	require.ErrorContains(t, linkError("make a link", syscall.EOPNOTSUPP), "the kernel has no wireguard module")
	require.NoError(t, linkError("make a link", nil))
}

func TestPortInUse(t *testing.T) {
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer c.Close()
	port := netip.MustParseAddrPort(c.LocalAddr().String()).Port()
	require.ErrorIs(t, probe("wg0", port), engine.ErrPortInUse)
	require.NoError(t, probe("wg0", 0))
}

// wgctrl cuts a configuration of more than 32 peers or 256 allowed IPs into a message for each peer, each
// of which sets the interface again.
func TestMessages(t *testing.T) {
	peers := func(ips ...int) (out []wgtypes.PeerConfig) {
		for _, n := range ips {
			out = append(out, wgtypes.PeerConfig{PublicKey: wgtypes.Key{byte(len(out))}, AllowedIPs: make([]net.IPNet, n)})
		}
		return out
	}
	for name, c := range map[string]struct {
		peers []wgtypes.PeerConfig
		want  []int // peers in each message
	}{
		"the interface alone":          {nil, []int{0}},
		"few":                          {peers(1, 1, 1), []int{3}},
		"more than one message holds":  {peers(make([]int, 70)...), []int{32, 32, 6}},
		"many allowed IPs":             {peers(100, 100, 56, 1, 256), []int{3, 1, 1}},
		"one with more than a message": {peers(1, 600, 1), []int{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			var all []wgtypes.PeerConfig
			for m := range messages(wgtypes.Config{ListenPort: new(7), Peers: c.peers}) {
				require.Equal(t, len(got) == 0, m.ListenPort != nil, "the interface is set once")
				got, all = append(got, len(m.Peers)), append(all, m.Peers...)
			}
			require.Equal(t, c.want, got)
			require.Equal(t, c.peers, all)
		})
	}
}
