//go:build vm

package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/engine/link"
)

// kernelNode is an agent on the kernel's links and this host's network, with wg0 up, and a client that
// is a peer of it.
func kernelNode(t *testing.T) (*node, *peerOfKernel) {
	t.Helper()
	private := enginetest.PrivateKey(t)
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", basicConf(t)+fmt.Sprintf("[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.0.2/32, 10.20.0.0/16\n", private.PublicKey()))
		o.Backend, o.Up = kernel.New(), []string{UpAll}
		o.Network = link.NewHost(link.Options{RunDir: t.TempDir(), ResolvConf: filepath.Join(t.TempDir(), "resolv.conf")})
	})
	i := n.device("wg0").Interface
	c, err := mesh.NewClient(mesh.Options{
		PrivateKey: private, Addresses: []netip.Addr{netip.MustParseAddr("10.8.0.2")},
		Peer: i.PrivateKey.PublicKey(), Endpoint: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), i.ListenPort),
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/32")},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	echo, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 8, 0, 1), Port: 7})
	require.NoError(t, err)
	t.Cleanup(func() { echo.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			size, from, err := echo.ReadFrom(b)
			if err != nil {
				return
			}
			echo.WriteTo(b[:size], from)
		}
	}()
	conn, err := c.Net().DialUDPAddrPort(netip.AddrPort{}, netip.MustParseAddrPort("10.8.0.1:7"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return n, &peerOfKernel{t, conn, private.PublicKey().String()}
}

type peerOfKernel struct {
	*testing.T
	conn net.Conn
	key  string
}

func (p *peerOfKernel) ping() {
	p.Helper()
	_, err := p.conn.Write([]byte("hello"))
	require.NoError(p, err)
	require.NoError(p, p.conn.SetReadDeadline(time.Now().Add(30*time.Second)))
	_, err = p.conn.Read(make([]byte, 5))
	require.NoError(p, err, "no answer")
}

// stats are what the kernel knows of the client.
func (p *peerOfKernel) stats() engine.Stats {
	p.Helper()
	d, err := kernel.New().Attach(p.Context(), "wg0")
	require.NoError(p, err)
	o, err := d.Observe(p.Context())
	require.NoError(p, err)
	for key, s := range o.Stats {
		if key.String() == p.key {
			return s
		}
	}
	require.Fail(p, "the client is no peer")
	return engine.Stats{}
}

func routesTo(t *testing.T, to string) []netlink.Route {
	t.Helper()
	_, dst, err := net.ParseCIDR(to)
	require.NoError(t, err)
	all, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: dst}, netlink.RT_FILTER_DST)
	require.NoError(t, err)
	return all
}

// The agent is updated: it goes and comes back, and the link, its sessions and routes stay. It knows the
// link as its own, so that at last it takes it down, and nothing stays.
func TestKernelLinkOutlivesTheAgent(t *testing.T) {
	n, client := kernelNode(t)
	client.ping()
	begun := client.stats()
	require.False(t, begun.LastHandshake.IsZero())
	before, err := net.InterfaceByName("wg0")
	require.NoError(t, err)
	routes := routesTo(t, "10.20.0.0/16")
	require.Len(t, routes, 1)

	n.leave()
	client.ping()
	n.start()
	client.ping()
	n.mustDo("POST", peersPath, peer(1))
	_, r := n.apply(map[string]any{"changes": []any{map[string]any{"op": "remove", "public_key": key(1)}}})
	require.Equal(t, 200, r.status, "%s", r.body)
	client.ping()

	after, err := net.InterfaceByName("wg0")
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, routes, routesTo(t, "10.20.0.0/16"))
	require.Equal(t, begun.LastHandshake, client.stats().LastHandshake, "it is one session all along")

	require.NoError(t, n.server.Close(context.Background(), true))
	_, err = net.InterfaceByName("wg0")
	require.Error(t, err, "its own link goes with it")
	require.Empty(t, routesTo(t, "10.20.0.0/16"))
}

// A link that something else made is used, and left where it was.
func TestKernelLinkOfAnotherStays(t *testing.T) {
	d, err := kernel.New().Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(context.Background())) })
	n := newNode(t, func(o *Options) { o.Backend, o.Up = kernel.New(), []string{UpAll} })
	n.mustDo("POST", peersPath, peer(1))
	n.stop()
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Peers, 1)
}
