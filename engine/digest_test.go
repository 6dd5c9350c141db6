package engine_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func TestDigestIsThatOfTheLines(t *testing.T) {
	mac := engine.DeriveMACKey([]byte("shared"))
	psk := engine.NewSecretKey(wgtypes.Key{7})
	p := netip.MustParsePrefix
	peers := engine.NormalizePeers([]engine.Peer{
		{PublicKey: wgtypes.Key{0xff}, AllowedIPs: []netip.Prefix{p("9.0.0.0/8"), p("10.0.0.0/8"), p("fd00::1/128")}, PersistentKeepalive: 25},
		{PublicKey: wgtypes.Key{1}, PresharedKey: psk, Endpoint: netip.MustParseAddrPort("1.2.3.4:5")},
	})
	want := "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\t" + mac.MAC(psk) + "\t\t0\n" +
		"/wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\t-\t10.0.0.0/8,9.0.0.0/8,fd00::1/128\t25\n"
	lines := bytes.SplitAfter([]byte(want), []byte("\n"))[:2]
	require.Equal(t, sum(string(lines[1])+string(lines[0])), engine.Digest(peers, mac), "lines sorted by bytes: / is before A")
	require.Equal(t, sum(""), engine.Digest(nil, mac))
	require.Len(t, mac.MAC(psk), 64)
	require.Empty(t, mac.MAC(engine.SecretKey{}))
	require.NotEqual(t, mac.MAC(psk), engine.DeriveMACKey([]byte("other")).MAC(psk))
}

func TestDigestSeesConfigurationAlone(t *testing.T) {
	mac := engine.DeriveMACKey([]byte("shared"))
	rapid.Check(t, func(t *rapid.T) {
		peers := anyPeers(5).Draw(t, "peers")
		before := engine.Digest(peers, mac)
		shuffled := rapid.Permutation(peers).Draw(t, "order")
		require.Equal(t, before, engine.Digest(shuffled, mac))
		other := anyPeers(5).Draw(t, "other")
		same := len(engine.DiffPeers(peers, other, engine.DiffOptions{RemoveUnknown: true})) == 0
		require.Equal(t, same, engine.Digest(other, mac) == before, "equal digests and equal configuration are one")
		for i := range shuffled {
			shuffled[i].Endpoint = netip.AddrPortFrom(netip.IPv4Unspecified(), rapid.Uint16().Draw(t, "port"))
		}
		require.Equal(t, before, engine.Digest(shuffled, mac), "a peer that roamed is the same")
	})
}

func TestInterfaceDigest(t *testing.T) {
	p := netip.MustParsePrefix
	i := engine.Interface{
		Name: "wg0", PrivateKey: engine.NewSecretKey(wgtypes.Key{1}), ListenPort: 51820, FwMark: 7, MTU: 1420,
		Addresses: []netip.Prefix{p("9.8.0.1/24"), p("10.8.0.1/24")},
	}
	public := i.PrivateKey.PublicKey().String()
	want := sum("public_key\t" + public + "\nlisten_port\t51820\nfwmark\t7\naddresses\t10.8.0.1/24,9.8.0.1/24\nmtu\t1420\n")
	require.Equal(t, want, engine.InterfaceDigest(i))
	require.Equal(t, want, engine.InterfaceDigestOf(public, engine.Interface{ListenPort: 51820, FwMark: 7, MTU: 1420, Addresses: i.Addresses}))
	require.Equal(t, sum("public_key\t\nlisten_port\t0\nfwmark\t0\naddresses\t\nmtu\t0\n"), engine.InterfaceDigest(engine.Interface{}))
}
