package gateway

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/wgfleet/wgfleet/engine/netstack"

	"github.com/wgfleet/wgfleet/engine"
)

// hostUDP is a UDP socket of the host.
func hostUDP(t *testing.T, a netip.Addr) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c, addrPortOf(c.LocalAddr())
}

// peerUDP is a UDP socket of a peer, bound to its address of that family.
func (l *lab) peerUDP(p *peer, like netip.Addr) *netstack.UDPConn {
	l.t.Helper()
	i := slices.IndexFunc(p.addrs, func(a netip.Addr) bool { return a.Is4() == like.Is4() })
	c, err := p.ListenUDPAddrPort(netip.AddrPortFrom(p.addrs[i], 0))
	require.NoError(l.t, err)
	require.NoError(l.t, c.SetDeadline(time.Now().Add(10*time.Second)))
	l.t.Cleanup(func() { c.Close() })
	return c
}

func TestUDPIsCarried(t *testing.T) {
	for name, host := range families {
		for _, size := range []int{0, 1, 1200, 9000} { // the last one in fragments, both ways
			t.Run(name, func(t *testing.T) {
				l := newLab(t, Options{})
				p := l.join(2)
				server, at := hostUDP(t, host)
				c := l.peerUDP(p, host)
				question := slices.Repeat([]byte{7}, size)
				_, err := c.WriteTo(question, net.UDPAddrFromAddrPort(at))
				require.NoError(t, err)
				b := make([]byte, 65536)
				n, from, err := server.ReadFrom(b)
				require.NoError(t, err)
				require.Equal(t, question, b[:n])
				_, err = server.WriteTo(append(question, 8), from)
				require.NoError(t, err)
				n, back, err := c.ReadFrom(b)
				require.NoError(t, err)
				require.Equal(t, append(question, 8), b[:n])
				require.Equal(t, at, addrPortOf(back))
				f := l.g.Flows()
				require.Len(t, f, 1)
				require.EqualValues(t, size, f[0].TxBytes)
				require.EqualValues(t, size+1, f[0].RxBytes)
			})
		}
	}
}

// RFC 4787, REQ-1: one port of a peer is one port of the host, whatever it talks to. REQ-8: only who was sent to may answer.
func TestMappingIsEndpointIndependent(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	c := l.peerUDP(p, loopback4)
	one, oneAt := hostUDP(t, loopback4)
	two, twoAt := hostUDP(t, loopback4)
	stranger, _ := hostUDP(t, netip.MustParseAddr("127.0.0.77"))
	b := make([]byte, 100)
	seen := map[netip.AddrPort]bool{}
	for _, at := range []netip.AddrPort{oneAt, twoAt} {
		_, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(at))
		require.NoError(t, err)
	}
	for _, s := range []*net.UDPConn{one, two} {
		_, from, err := s.ReadFrom(b)
		require.NoError(t, err)
		seen[addrPortOf(from)] = true
	}
	require.Len(t, seen, 1)
	for mapped := range seen {
		_, err := stranger.WriteTo([]byte("stranger"), net.UDPAddrFromAddrPort(mapped))
		require.NoError(t, err)
		third, thirdAt := hostUDP(t, loopback4) // an address that was sent to, another port
		_, err = third.WriteTo([]byte("third"), net.UDPAddrFromAddrPort(mapped))
		require.NoError(t, err)
		n, from, err := c.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, "third", string(b[:n]), "what the stranger sent before is not let in")
		require.Equal(t, thirdAt, addrPortOf(from))
	}
}

func TestUDPErrorsPass(t *testing.T) {
	for name, host := range families {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			p := l.join(2)
			server, at := hostUDP(t, host)
			server.Close()
			i := slices.IndexFunc(p.addrs, func(a netip.Addr) bool { return a.Is4() == host.Is4() })
			c, err := p.DialUDPAddrPort(netip.AddrPortFrom(p.addrs[i], 0), at)
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Write([]byte("x"))
			require.NoError(t, err)
			require.Eventually(t, func() bool { // a pending error is told once, by whatever call comes next
				_, err = c.Write([]byte("x"))
				return err != nil
			}, 10*time.Second, time.Millisecond)
			require.ErrorContains(t, err, "refused", "port unreachable")
		})
	}
}

func TestIdleMappingsEnd(t *testing.T) {
	l := newLab(t, Options{Timeouts: Timeouts{UDP: 10 * time.Millisecond}})
	p := l.join(2)
	_, at := hostUDP(t, loopback4)
	c := l.peerUDP(p, loopback4)
	_, err := c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.g.Stats().Peers[p.conf.PublicKey].Opened == 1 }, 5*time.Second, time.Millisecond)
	require.Eventually(t, func() bool {
		l.g.mappings.mu.RLock()
		defer l.g.mappings.mu.RUnlock()
		return len(l.g.Flows()) == 0 && len(l.g.mappings.all) == 0
	}, 10*time.Second, 10*time.Millisecond)
}

func TestUDPSprayIsBounded(t *testing.T) {
	l := newLab(t, Options{Limits: engine.Limits{Connections: 10, Rate: -1}})
	p, other := l.join(2), l.join(3)
	server, at := hostUDP(t, loopback4)
	c := l.peerUDP(p, loopback4)
	for port := range uint16(100) {
		_, err := c.WriteTo([]byte("spray"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), 40000+port)))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return l.count(p, RefusedConnections) == 90 }, 5*time.Second, time.Millisecond)
	require.Len(t, l.g.Flows(), 10)
	_, err := l.peerUDP(other, loopback4).WriteTo([]byte("other"), net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	b := make([]byte, 10)
	n, _, err := server.ReadFrom(b)
	require.NoError(t, err)
	require.Equal(t, "other", string(b[:n]))
}
