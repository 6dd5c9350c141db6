package mesh_test

import (
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/conn/bindtest"

	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Two clients over channels in memory: no socket, no port.
func TestTwoClientsTalk(t *testing.T) {
	binds := bindtest.NewChannelBinds()
	one, two := enginetest.PrivateKey(t), enginetest.PrivateKey(t)
	ip := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	a, err := mesh.NewClient(mesh.Options{
		PrivateKey: one, Addresses: ip[:1], Peer: two.PublicKey(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(ip[1], 32)},
		Bind: binds[0], Endpoint: netip.MustParseAddrPort("127.0.0.1:1"),
	})
	require.NoError(t, err)
	defer a.Close()
	b, err := mesh.NewClient(mesh.Options{
		PrivateKey: two, Addresses: ip[1:], Peer: one.PublicKey(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(ip[0], 32)},
		Bind: binds[1],
	})
	require.NoError(t, err)
	defer b.Close()
	require.Equal(t, two.PublicKey(), b.PublicKey())

	l, err := b.Net().ListenTCPAddrPort(netip.AddrPortFrom(ip[1], 7))
	require.NoError(t, err)
	defer l.Close()
	c, err := a.Net().DialContextTCPAddrPort(t.Context(), netip.AddrPortFrom(ip[1], 7))
	require.NoError(t, err)
	defer c.Close()
	s, err := l.Accept()
	require.NoError(t, err)
	defer s.Close()
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(s, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	stats, err := b.Stats()
	require.NoError(t, err)
	require.False(t, stats.LastHandshake.IsZero())
	require.True(t, stats.Endpoint.IsValid(), "learned from a's packets")
	a.Close()
	a.Close()
}
