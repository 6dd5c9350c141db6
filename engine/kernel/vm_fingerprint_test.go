//go:build vm

package kernel_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

// TestFingerprintOfALargeLink: dumps of many messages, among them a peer that fills several; each change that
// another program makes is seen, and the same device is always the same.
func TestFingerprintOfALargeLink(t *testing.T) {
	const count = 2000
	peers := enginetest.Peers(count)
	for i := range 3000 {
		peers[7].AllowedIPs = append(peers[7].AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}), 32))
	}
	peers = engine.NormalizePeers(peers)
	d, err := kernel.New().Create(t.Context(), plain(t))
	require.NoError(t, err)
	defer d.Close(t.Context())
	_, err = engine.Apply(t.Context(), d, engine.State{}, engine.Changes{Peers: engine.DiffPeers(nil, peers, engine.DiffOptions{})})
	require.NoError(t, err)
	look := func() engine.Fingerprint {
		t.Helper()
		began := time.Now()
		f, err := d.(engine.Fingerprinter).Fingerprint(t.Context())
		require.NoError(t, err)
		took := time.Since(began)
		o, err := d.Observe(t.Context())
		require.NoError(t, err)
		t.Logf("%d peers: fingerprint %v, full read %v", len(o.Peers), took, time.Since(began)-took)
		require.Equal(t, engine.FingerprintOf(o.State), f)
		return f
	}
	last := look()
	require.Equal(t, last, look(), "nothing changed")
	keepalive, psk, port := 7*time.Second, wgtypes.Key{5}, 4711
	key := peers[count-1].PublicKey
	for what, c := range map[string]wgtypes.Config{
		"keepalive":     {Peers: []wgtypes.PeerConfig{{PublicKey: key, UpdateOnly: true, PersistentKeepaliveInterval: &keepalive}}},
		"preshared key": {Peers: []wgtypes.PeerConfig{{PublicKey: key, UpdateOnly: true, PresharedKey: &psk}}},
		"allowed IPs":   {Peers: []wgtypes.PeerConfig{{PublicKey: peers[7].PublicKey, UpdateOnly: true, ReplaceAllowedIPs: true}}},
		"peer":          {Peers: []wgtypes.PeerConfig{{PublicKey: peers[9].PublicKey, Remove: true}}},
		"port":          {ListenPort: &port},
	} {
		other(t, func(wg *wgctrl.Client) error { return wg.ConfigureDevice("wgt0", c) })
		now := look()
		require.NotEqual(t, last, now, what)
		last = now
	}
	l, err := netlink.LinkByName("wgt0")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetMTU(l, 1300))
	require.NotEqual(t, last, look(), "MTU")

	require.NoError(t, netlink.LinkDel(l))
	_, err = d.(engine.Fingerprinter).Fingerprint(t.Context())
	require.ErrorIs(t, err, engine.ErrUnknownInterface)
}
