package netstack_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine/netstack"
)

func newNet(t *testing.T, addrs ...string) *netstack.Net {
	t.Helper()
	o := netstack.Options{MTU: testMTU}
	for _, a := range addrs {
		o.Addresses = append(o.Addresses, netip.MustParseAddr(a))
	}
	d, err := netstack.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d.Net()
}

func TestListenSaysWhereItIsReached(t *testing.T) {
	for at, want := range map[string]string{
		":80":           "10.0.0.1:80",
		"0.0.0.0:80":    "10.0.0.1:80",
		"[::]:80":       "10.0.0.1:80",
		"10.0.0.1:80":   "10.0.0.1:80",
		"[fd00::1]:080": "[fd00::1]:80",
	} {
		n := newNet(t, "10.0.0.1", "fd00::1")
		l, err := n.Listen("tcp", at)
		require.NoError(t, err, at)
		require.Equal(t, want, l.Addr().String(), at)
		require.NoError(t, l.Close())
		p, err := n.ListenPacket("udp", at)
		require.NoError(t, err, at)
		require.Equal(t, want, p.LocalAddr().String(), at)
		require.NoError(t, p.Close())
	}
	n := newNet(t, "fd00::1")
	l, err := n.Listen("tcp", ":0")
	require.NoError(t, err)
	defer l.Close()
	at, err := netip.ParseAddrPort(l.Addr().String())
	require.NoError(t, err)
	require.Equal(t, netip.MustParseAddr("fd00::1"), at.Addr())
	require.NotZero(t, at.Port())
}

// One listener without a host hears IPv4 and IPv6.
func TestListenOnAllAddresses(t *testing.T) {
	n := newNet(t, "10.0.0.1", "fd00::1")
	l, err := n.Listen("tcp", ":80")
	require.NoError(t, err)
	defer l.Close()
	for _, at := range []string{"10.0.0.1:80", "[fd00::1]:80"} {
		c, err := n.DialContext(t.Context(), "tcp", at)
		require.NoError(t, err)
		s, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, at, s.LocalAddr().String())
		require.Equal(t, c.LocalAddr().String(), s.RemoteAddr().String())
		s.Close()
		c.Close()
	}
}

func TestListenRefuses(t *testing.T) {
	n := newNet(t, "10.0.0.1")
	for _, c := range [][2]string{{"tcp", "80"}, {"tcp", ":http"}, {"tcp", ":65536"}, {"tcp", "host:80"}, {"tcp", "10.0.0.9:80"}, {"unix", ":80"}, {"udp", ":80"}} {
		_, err := n.Listen(c[0], c[1])
		require.Error(t, err, "%v", c)
	}
	for _, c := range [][2]string{{"tcp", ":80"}, {"udp", "80"}, {"udp", "10.0.0.9:80"}} {
		_, err := n.ListenPacket(c[0], c[1])
		require.Error(t, err, "%v", c)
	}
	var unknown net.UnknownNetworkError
	_, err := n.Listen("unix", ":80")
	require.ErrorAs(t, err, &unknown)
}

func TestAcceptEndsAsInNet(t *testing.T) {
	d, err := netstack.New(netstack.Options{MTU: testMTU, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}})
	require.NoError(t, err)
	acceptEnds(t, d, ":80", net.Listener.Close)
	acceptEnds(t, d, ":81", func(net.Listener) error { return d.Close() })
}

func acceptEnds(t *testing.T, d *netstack.Device, at string, end func(net.Listener) error) {
	t.Helper()
	l, err := d.Net().Listen("tcp", at)
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	require.NoError(t, end(l))
	require.ErrorIs(t, <-ended, net.ErrClosed)
}
