package userspace

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func hexOf(k wgtypes.Key) string { return hex.EncodeToString(k[:]) }

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

func TestParse(t *testing.T) {
	private, psk := enginetest.PrivateKey(t), enginetest.PresharedKey(t)
	first, second := enginetest.PeerKey(0), enginetest.PeerKey(1)
	o, err := parse(strings.Join([]string{
		"private_key=" + hexOf(private.Reveal()), "listen_port=51820", "fwmark=4660",
		"public_key=" + hexOf(first), "preshared_key=" + hexOf(psk.Reveal()), "protocol_version=1",
		"endpoint=[2001:db8::1]:9", "last_handshake_time_sec=1700000000", "last_handshake_time_nsec=5",
		"tx_bytes=7", "rx_bytes=9", "persistent_keepalive_interval=25", "allowed_ip=10.0.0.2/32", "allowed_ip=10.0.0.0/8",
		"public_key=" + hexOf(second), "preshared_key=" + zeros, "protocol_version=1",
		"last_handshake_time_sec=0", "last_handshake_time_nsec=0", "tx_bytes=0", "rx_bytes=0",
		"persistent_keepalive_interval=0", "allowed_ip=fd00::/64", "errno=0", "", "",
	}, "\n"))
	require.NoError(t, err)
	endpoint := netip.MustParseAddrPort("[2001:db8::1]:9")
	p := netip.MustParsePrefix
	require.Equal(t, engine.Normalize(engine.State{
		Interface: engine.Interface{PrivateKey: private, ListenPort: 51820, FwMark: 4660},
		Peers: []engine.Peer{
			{PublicKey: first, PresharedKey: psk, Endpoint: endpoint, PersistentKeepalive: 25, AllowedIPs: []netip.Prefix{p("10.0.0.2/32"), p("10.0.0.0/8")}},
			{PublicKey: second, AllowedIPs: []netip.Prefix{p("fd00::/64")}},
		},
	}), o.State)
	require.Equal(t, map[wgtypes.Key]engine.Stats{
		first:  {Endpoint: endpoint, LastHandshake: time.Unix(1700000000, 5), TxBytes: 7, RxBytes: 9},
		second: {},
	}, o.Stats)
}

func TestParseRefuses(t *testing.T) {
	peer := "public_key=" + hexOf(enginetest.PeerKey(0)) + "\n"
	secret := strings.Repeat("5e", 31)
	for name, text := range map[string]string{
		"no value": "listen_port", "unknown": "flux=1", "port": "listen_port=65536", "mark": "fwmark=-1",
		"short key": "private_key=" + secret, "not hex": "private_key=" + secret + "zz", "errno": peer + "errno=5",
		"peer key": "public_key=", "prefix": peer + "allowed_ip=10.0.0.0/33", "endpoint": peer + "endpoint=here",
		"keepalive": peer + "persistent_keepalive_interval=65536", "counter": peer + "rx_bytes=99999999999999999999",
		"negative counter": peer + "tx_bytes=-1", "unknown of a peer": peer + "flux=1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(text)
			require.Error(t, err)
			require.NotContains(t, err.Error(), secret)
		})
	}
	o, err := parse("")
	require.NoError(t, err)
	require.Empty(t, o.Peers)
}

func TestPeersOfAnObservationDoNotShareRoom(t *testing.T) {
	text := ""
	for n := range 3 {
		text += fmt.Sprintf("public_key=%s\nallowed_ip=%s/32\n", hexOf(enginetest.PeerKey(n)), enginetest.PeerIP(n))
	}
	o, err := parse(text)
	require.NoError(t, err)
	for i := range o.Peers {
		_ = append(o.Peers[i].AllowedIPs, netip.MustParsePrefix("0.0.0.0/0"))
	}
	require.Equal(t, enginetest.Peers(3), o.Peers)
}

// What is written is what is read: the lines that set a peer are lines of an answer too.
func TestWhatIsSetParses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := engine.Peer{
			PublicKey: enginetest.PeerKey(rapid.IntRange(0, 9).Draw(t, "key")), AllowedIPs: []netip.Prefix{},
			PersistentKeepalive: rapid.IntRange(0, 65535).Draw(t, "keepalive"),
			PresharedKey:        engine.NewSecretKey(wgtypes.Key(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "psk"))),
			Endpoint:            netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 2, 3, rapid.Byte().Draw(t, "host")}), 1+rapid.Uint16Max(9).Draw(t, "port")),
		}
		for n := range rapid.IntRange(0, 3).Draw(t, "prefixes") {
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(enginetest.PeerIP(n), 32))
		}
		text := string(appendPeer(nil, engine.PeerChange{After: &p}))
		o, err := parse(strings.Replace(text, "replace_allowed_ips=true\n", "", 1))
		require.NoError(t, err)
		require.Equal(t, engine.NormalizePeers([]engine.Peer{p}), o.Peers)
	})
}

func TestOnlyWhatDiffersIsSet(t *testing.T) {
	ip := netip.MustParsePrefix
	k, psk := enginetest.PeerKey(0), enginetest.PresharedKey(t)
	old := engine.Peer{PublicKey: k, PresharedKey: psk, PersistentKeepalive: 5, AllowedIPs: []netip.Prefix{ip("10.0.0.1/32")}, Endpoint: netip.MustParseAddrPort("1.2.3.4:5")}
	head := "public_key=" + hexOf(k) + "\nupdate_only=true\n"
	for name, c := range map[string]struct {
		edit func(*engine.Peer)
		want string
	}{
		"nothing":         {func(*engine.Peer) {}, head},
		"no more psk":     {func(p *engine.Peer) { p.PresharedKey = engine.SecretKey{} }, head + "preshared_key=" + zeros + "\n"},
		"keepalive off":   {func(p *engine.Peer) { p.PersistentKeepalive = 0 }, head + "persistent_keepalive_interval=0\n"},
		"no allowed IPs":  {func(p *engine.Peer) { p.AllowedIPs = nil }, head + "replace_allowed_ips=true\n"},
		"one more":        {func(p *engine.Peer) { p.AllowedIPs = []netip.Prefix{ip("10.0.0.1/32"), ip("fd00::/8")} }, head + "replace_allowed_ips=true\nallowed_ip=10.0.0.1/32\nallowed_ip=fd00::/8\n"},
		"endpoint":        {func(p *engine.Peer) { p.Endpoint = netip.MustParseAddrPort("[::1]:6") }, head + "endpoint=[::1]:6\n"},
		"endpoint unsaid": {func(p *engine.Peer) { p.Endpoint = netip.AddrPort{} }, head},
	} {
		t.Run(name, func(t *testing.T) {
			want := old
			c.edit(&want)
			require.Equal(t, c.want, string(appendPeer(nil, engine.PeerChange{Before: &old, After: &want})))
		})
	}
	require.Equal(t, head+"remove=true\n", string(appendPeer(nil, engine.PeerChange{Before: &old})))

	i := engine.Interface{PrivateKey: psk, ListenPort: 7, FwMark: 8, MTU: 1400}
	require.Empty(t, appendInterface(nil, engine.InterfaceChange{Before: i, After: i}))
	require.Equal(t, "private_key="+zeros+"\nfwmark=0\nlisten_port=0\n", string(appendInterface(nil, engine.InterfaceChange{Before: i})))
}

func FuzzUAPI(f *testing.F) {
	peer := "public_key=" + hexOf(enginetest.PeerKey(0)) + "\n"
	f.Add("private_key=" + zeros + "\nlisten_port=1\nfwmark=2\n" + peer + "allowed_ip=10.0.0.0/8\nendpoint=1.2.3.4:5\n")
	f.Add(peer + peer + "rx_bytes=1\nerrno=0\n\n")
	f.Add(peer + "allowed_ip=::ffff:10.0.0.1/100\n")
	f.Add("=\n")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parse(text)
		if err != nil {
			return
		}
		require.Equal(t, engine.Normalize(o.State), o.State)
		require.LessOrEqual(t, len(o.Stats), len(o.Peers))
		for _, p := range o.Peers {
			require.NoError(t, engine.ValidatePeer(engine.Peer{PublicKey: wgtypes.Key{1}, AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.PersistentKeepalive}))
		}
	})
}
