//go:build root

package userspace_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// These tests make interfaces of the host: .ci/test-tun runs them as root in a network namespace of
// their own.
func newTUN(t *testing.T) *userspace.Backend {
	t.Helper()
	require.Zero(t, os.Geteuid(), "the tests with the tag root need root")
	require.NoError(t, link.Up("lo"))
	b := userspace.NewTUN(userspace.Options{UAPIDir: t.TempDir()})
	require.NoError(t, b.Usable())
	return b
}

func TestTUNConformance(t *testing.T) {
	enginetest.RunConformance(t, func(t *testing.T) engine.Backend { return newTUN(t) })
}

func TestTUNLeavesNothing(t *testing.T) {
	newTUN(t)
	dir := t.TempDir()
	b := userspace.NewTUN(userspace.Options{UAPIDir: dir})
	i := engine.Interface{Name: "wgt0", PrivateKey: enginetest.PrivateKey(t)}
	d, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	there, err := link.Exists("wgt0")
	require.NoError(t, err)
	require.True(t, there)
	require.FileExists(t, filepath.Join(dir, "wgt0.sock"))

	_, err = userspace.NewTUN(userspace.Options{UAPIDir: t.TempDir()}).Create(t.Context(), i)
	require.ErrorIs(t, err, engine.ErrInterfaceExists)
	require.NoError(t, d.Close(t.Context()))
	there, err = link.Exists("wgt0")
	require.NoError(t, err)
	require.False(t, there)
	require.NoFileExists(t, filepath.Join(dir, "wgt0.sock"))
}

// Who deletes the link takes the interface down, as wg-quick down does.
func TestTUNWhoseLinkIsDeletedIsClosed(t *testing.T) {
	b := newTUN(t)
	d, err := b.Create(t.Context(), engine.Interface{Name: "wgt0"})
	require.NoError(t, err)
	require.NoError(t, link.Delete("wgt0"))
	require.Eventually(t, func() bool {
		_, err := b.Attach(context.Background(), "wgt0")
		return err != nil
	}, 10*time.Second, 10*time.Millisecond)
	_, err = d.Observe(t.Context())
	require.ErrorIs(t, err, engine.ErrClosed)
	require.NoError(t, d.Close(t.Context()))
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func wg(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("wg", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestRealWgReadsAndWrites(t *testing.T) {
	newTUN(t)
	b := userspace.NewTUN(userspace.Options{}) // the folder where wg(8) looks
	i := engine.Interface{Name: "wgt9", PrivateKey: enginetest.PrivateKey(t)}
	made, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	defer made.Close(t.Context())
	d := made.(*userspace.Device)
	require.Equal(t, i.PrivateKey.PublicKey().String(), strings.TrimSpace(wg(t, "show", "wgt9", "public-key")))
	info, err := os.Stat("/var/run/wireguard/wgt9.sock")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	before := d.Revision()
	key := enginetest.PeerKey(0)
	wg(t, "set", "wgt9", "peer", key.String(), "allowed-ips", "10.9.0.2/32,fd00::2/128", "persistent-keepalive", "21", "endpoint", "127.0.0.1:9")
	require.Greater(t, d.Revision(), before, "a write by wg(8) moves the revision")
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Peers, 1)
	require.Equal(t, key, o.Peers[0].PublicKey)
	require.Equal(t, 21, o.Peers[0].PersistentKeepalive)
	before = d.Revision()
	require.Contains(t, wg(t, "show", "wgt9", "dump"), "10.9.0.2/32")
	require.Equal(t, before, d.Revision(), "reading does not")
}

// The host's own sockets reach a client that we did not write, and back.
func TestTUNTraffic(t *testing.T) {
	b := newTUN(t)
	i := engine.Interface{Name: "wgt0", PrivateKey: enginetest.PrivateKey(t), Addresses: prefixes("10.8.0.1/24")}
	d, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	defer d.Close(t.Context())
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	c, err := mesh.NewClient(mesh.Options{
		Addresses: []netip.Addr{clientIP}, Peer: i.PrivateKey.PublicKey(), AllowedIPs: prefixes("10.8.0.0/24"),
		Endpoint: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), o.Interface.ListenPort),
	})
	require.NoError(t, err)
	defer c.Close()
	peer := engine.Peer{PublicKey: c.PublicKey(), AllowedIPs: prefixes("10.8.0.2/32")}
	_, err = engine.Apply(t.Context(), d, o.State, engine.Changes{Peers: []engine.PeerChange{{After: &peer}}})
	require.NoError(t, err)

	l, err := net.Listen("tcp", "10.8.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	in, err := c.Net().DialContextTCPAddrPort(t.Context(), netip.MustParseAddrPort(l.Addr().String()))
	require.NoError(t, err)
	defer in.Close()
	out, err := l.Accept()
	require.NoError(t, err)
	defer out.Close()
	go func() { _, _ = io.Copy(out, out) }()
	roundTrip(t, in, 1)
	o, err = d.Observe(t.Context())
	require.NoError(t, err)
	require.False(t, o.Stats[c.PublicKey()].LastHandshake.IsZero())
	s, err := c.Stats()
	require.NoError(t, err)
	require.Equal(t, o.Interface.ListenPort, s.Endpoint.Port())
}

// One address takes the other of its subnet with it, unless it is put back.
func TestTUNAddresses(t *testing.T) {
	b := newTUN(t)
	i := engine.Interface{Name: "wgt0", Addresses: prefixes("10.8.0.1/24", "10.8.0.5/24", "fd00:8::1/64")}
	d, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	defer d.Close(t.Context())
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	after := o.Interface
	after.Addresses = prefixes("10.8.0.5/24", "fd00:8::1/128")
	c := engine.Changes{Interface: &engine.InterfaceChange{Before: o.Interface, After: after}}
	_, err = engine.Apply(t.Context(), d, o.State, c)
	require.NoError(t, err)
	s, err := link.Read("wgt0")
	require.NoError(t, err)
	require.True(t, s.Up)
	require.Equal(t, after.Addresses, s.Addresses)
}

func TestTUNAddressOfAnotherLink(t *testing.T) {
	b := newTUN(t)
	first, err := b.Create(t.Context(), engine.Interface{Name: "wgt0", Addresses: prefixes("10.8.0.1/24", "fe80::1/64", "fd00:8::1/64")})
	require.NoError(t, err)
	defer first.Close(t.Context())
	for _, taken := range []string{"10.8.0.1/32", "fd00:8::1/128"} {
		_, err = b.Create(t.Context(), engine.Interface{Name: "wgt1", Addresses: prefixes("10.7.0.1/24", taken)})
		require.ErrorIs(t, err, engine.ErrAddressInUse)
		require.ErrorContains(t, err, "wgt0 has "+strings.Split(taken, "/")[0]+" already, so wgt1 can't have it")
		there, err := link.Exists("wgt1")
		require.NoError(t, err)
		require.False(t, there)
	}

	d, err := b.Create(t.Context(), engine.Interface{Name: "wgt1", Addresses: prefixes("10.8.0.2/24", "fe80::1/64")})
	require.NoError(t, err, "link-local addresses are each link's own")
	defer d.Close(t.Context())
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	after := o.Interface
	after.Addresses, after.MTU, after.FwMark = prefixes("10.8.0.1/24"), 1300, 7
	err = d.Configure(t.Context(), engine.Changes{Interface: &engine.InterfaceChange{Before: o.Interface, After: after}})
	require.ErrorIs(t, err, engine.ErrAddressInUse)
	same, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, o, same, "nothing was changed")
}

func TestLinkOfNobody(t *testing.T) {
	newTUN(t)
	_, err := link.Read("wgt7")
	require.ErrorIs(t, err, engine.ErrUnknownInterface)
	require.ErrorIs(t, link.SetMTU("wgt7", 1400), engine.ErrUnknownInterface)
	require.ErrorIs(t, link.SetAddresses("wgt7", nil), engine.ErrUnknownInterface)
}
