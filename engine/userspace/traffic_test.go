package userspace_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/wgfleet/wgfleet/engine/netstack"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

var (
	nodeIP   = netip.MustParseAddr("10.8.0.1")
	clientIP = netip.MustParseAddr("10.8.0.2")
)

// tunnel is a node of ours and a client that we did not write.
type tunnel struct {
	backend *userspace.Backend
	node    engine.Device
	net     *netstack.Net // the node's
	client  *mesh.Client
	peer    engine.Peer // the client, as the node knows it
}

func newTunnel(t *testing.T) *tunnel {
	b := userspace.NewNetstack(userspace.Options{})
	i := engine.Interface{Name: "node0", PrivateKey: enginetest.PrivateKey(t), Addresses: []netip.Prefix{netip.PrefixFrom(nodeIP, 24)}}
	d, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(context.Background())) })
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	psk := enginetest.PresharedKey(t)
	c, err := mesh.NewClient(mesh.Options{
		Addresses: []netip.Addr{clientIP}, Peer: i.PrivateKey.PublicKey(), PresharedKey: psk,
		Endpoint:   netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), o.Interface.ListenPort),
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(nodeIP, 24)},
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	n, err := b.Net("node0")
	require.NoError(t, err)
	x := &tunnel{backend: b, node: d, net: n, client: c, peer: engine.Peer{
		PublicKey: c.PublicKey(), PresharedKey: psk, AllowedIPs: []netip.Prefix{netip.PrefixFrom(clientIP, 32)},
	}}
	x.want(t, x.peer)
	return x
}

func (x *tunnel) want(t *testing.T, peers ...engine.Peer) engine.Observation {
	t.Helper()
	before, err := x.node.Observe(t.Context())
	require.NoError(t, err)
	c := engine.DiffPeers(before.Peers, engine.NormalizePeers(peers), engine.DiffOptions{RemoveUnknown: true})
	o, err := engine.Apply(t.Context(), x.node, before.State, engine.Changes{Peers: c})
	require.NoError(t, err)
	return o
}

// echo opens a TCP stream from the client to an echo server on the node.
func (x *tunnel) echo(t *testing.T) net.Conn {
	t.Helper()
	l, err := x.net.ListenTCPAddrPort(netip.AddrPortFrom(nodeIP, 7))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	accepted, served := make(chan net.Conn, 1), make(chan struct{})
	go func() {
		defer close(served)
		c, err := l.Accept()
		if err != nil {
			return
		}
		accepted <- c
		_, _ = io.Copy(c, c)
	}()
	c, err := x.client.Net().DialContextTCPAddrPort(t.Context(), netip.AddrPortFrom(nodeIP, 7))
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		(<-accepted).Close() // by itself: the tunnel may be gone
		<-served
	})
	return c
}

func roundTrip(t *testing.T, c net.Conn, n int) {
	t.Helper()
	out := fmt.Appendf(nil, "message %d", n)
	_, err := c.Write(out)
	require.NoError(t, err)
	in := make([]byte, len(out))
	_, err = io.ReadFull(c, in)
	require.NoError(t, err)
	require.Equal(t, out, in)
}

func TestTCPSurvivesTheChangeOfAThousandOtherPeers(t *testing.T) {
	x := newTunnel(t)
	c := x.echo(t)
	roundTrip(t, c, 0)
	first, err := x.node.Observe(t.Context())
	require.NoError(t, err)
	start := first.Stats[x.peer.PublicKey]
	require.False(t, start.LastHandshake.IsZero())
	require.Positive(t, start.RxBytes)
	require.Positive(t, start.TxBytes)
	require.True(t, start.Endpoint.IsValid(), "learned from the client's packets")

	stop, streamed := make(chan struct{}), make(chan struct{})
	go func() { // keeps talking while the others change
		defer close(streamed)
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			out, in := []byte("still there"), make([]byte, 11)
			if _, err := c.Write(out); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.ReadFull(c, in); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	others := make([]engine.Peer, 1000)
	for i := range others {
		ip := netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)})
		others[i] = engine.Peer{PublicKey: enginetest.PeerKey(i), AllowedIPs: []netip.Prefix{netip.PrefixFrom(ip, 32)}}
	}
	last := start
	for _, peers := range [][]engine.Peer{others, others[:500], nil} {
		o := x.want(t, append(slices.Clip(peers), x.peer)...)
		now := o.Stats[x.peer.PublicKey]
		require.Equal(t, start.LastHandshake, now.LastHandshake, "nobody touched the session")
		require.GreaterOrEqual(t, now.RxBytes, last.RxBytes)
		require.GreaterOrEqual(t, now.TxBytes, last.TxBytes)
		last = now
	}
	close(stop)
	<-streamed
	roundTrip(t, c, 1)
}

func TestTrafficEndsWithThePeer(t *testing.T) {
	x := newTunnel(t)
	c := x.echo(t)
	roundTrip(t, c, 0)
	before, err := x.client.Stats()
	require.NoError(t, err)
	x.want(t)
	_, err = c.Write([]byte("lost"))
	require.NoError(t, err, "the stack takes it, nobody answers")
	after, err := x.client.Stats()
	require.NoError(t, err)
	require.Equal(t, before.LastHandshake, after.LastHandshake)
	x.want(t, x.peer)
	o, err := x.node.Observe(t.Context())
	require.NoError(t, err)
	require.True(t, o.Stats[x.peer.PublicKey].LastHandshake.IsZero(), "a peer that came back starts anew")
}

func TestNetOfADevice(t *testing.T) {
	b := userspace.NewNetstack(userspace.Options{})
	_, err := b.Net("nobody")
	require.ErrorIs(t, err, engine.ErrUnknownInterface)
	require.NoError(t, b.Usable())
}
