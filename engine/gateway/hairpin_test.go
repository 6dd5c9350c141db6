package gateway

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/wgfleet/wgfleet/engine"
)

func TestPeersReachEachOther(t *testing.T) {
	for i, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			a, b := l.join(2), l.join(3)
			at := netip.AddrPortFrom(b.addrs[i], 80)
			ln, err := b.ListenTCPAddrPort(at)
			require.NoError(t, err)
			defer ln.Close()
			go func() {
				if c, err := ln.Accept(); err == nil {
					_, _ = io.Copy(c, c)
					c.Close()
				}
			}()
			c, err := a.DialContextTCPAddrPort(l.context(10*time.Second), at)
			require.NoError(t, err)
			_, err = c.Write([]byte("hello"))
			require.NoError(t, err)
			require.NoError(t, c.CloseWrite())
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, "hello", string(got))
			f := l.g.Flows()
			require.Len(t, f, 1)
			require.Equal(t, engine.DirectionPeer, f[0].Direction)
			require.Equal(t, a.conf.PublicKey, f[0].Peer)
			require.Equal(t, at, f[0].Destination)
			require.Positive(t, f[0].RxBytes)
			c.Close()
		})
	}
}

// The policy asks who begins: answers to what it let through pass, though the other side may begin nothing.
func TestPolicyBetweenPeersAsksWhoBegins(t *testing.T) {
	l := newLab(t, Options{})
	a, b := l.join(2), l.join(3)
	l.set(engine.GatewayConfig{Access: engine.AccessPolicy{Peers: map[wgtypes.Key]engine.Access{
		b.conf.PublicKey: {Deny: []engine.AccessRule{{Prefix: netip.MustParsePrefix("10.8.0.0/24")}}},
	}}})
	server := l.peerUDP(b, loopback4)
	at := addrPortOf(server.LocalAddr())
	client := l.peerUDP(a, loopback4)
	_, err := client.WriteTo([]byte("question"), net.UDPAddrFromAddrPort(at))
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, from, err := server.ReadFrom(buf)
	require.NoError(t, err)
	_, err = server.WriteTo(buf[:n], from)
	require.NoError(t, err)
	_, _, err = client.ReadFrom(buf)
	require.NoError(t, err)

	_, err = server.WriteTo([]byte("begun by b"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(a.addrs[0], 9)))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return l.count(b, engine.RefusedDenied) == 1 }, 5*time.Second, time.Millisecond)
}

func TestHopsAreSpentBetweenPeers(t *testing.T) {
	for i, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			a, b := l.wire(2, i == 1), l.wire(3, i == 1)
			l.send(ping(t, a.addr, b.addr, 64, 7, 1, []byte("data")))
			got := b.next(t)
			require.EqualValues(t, 63, hops(got))
			if i == 0 {
				require.True(t, header.IPv4(got).IsChecksumValid())
			}
			_, m := parse(t, got)
			require.Equal(t, &icmp.Echo{ID: 7, Seq: 1, Data: []byte("data")}, m.Body)
		})
	}
}

func TestFragmentsFollowTheirFirst(t *testing.T) {
	l := newLab(t, Options{})
	a, b := l.wire(2, false), l.wire(3, false)
	fragment := func(offset uint16, more bool) []byte {
		p := ip(a.addr, b.addr, header.UDPProtocolNumber, 64, make([]byte, 16))
		h := header.IPv4(p)
		flags := uint8(0)
		if more {
			flags = header.IPv4FlagMoreFragments
		}
		h.SetFlagsFragmentOffset(flags, offset)
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
		return p
	}
	l.send(fragment(16, false)) // of a datagram whose begin nobody saw
	l.send(fragment(0, true))
	l.send(fragment(16, false))
	require.EqualValues(t, 0, header.IPv4(b.next(t)).FragmentOffset())
	require.EqualValues(t, 16, header.IPv4(b.next(t)).FragmentOffset())
	require.Empty(t, b.got)
}

func TestTooBigBetweenPeersIsToldSo(t *testing.T) {
	l := newLab(t, Options{})
	a, b := l.wire(2, true), l.wire(3, true)
	l.send(ping(t, a.addr, b.addr, 64, 7, 1, make([]byte, testMTU)))
	_, m := parse(t, a.next(t))
	require.Equal(t, testMTU, m.Body.(*icmp.PacketTooBig).MTU)
	require.Empty(t, b.got)
}

func TestEveryProtocolPassesBetweenPeers(t *testing.T) {
	const gre = 47
	l := newLab(t, Options{})
	a, b := l.wire(2, false), l.wire(3, false)
	l.send(ip(a.addr, b.addr, gre, 64, make([]byte, 16)))
	require.EqualValues(t, gre, header.IPv4(b.next(t)).Protocol())
}

// A peer that may send from everywhere reaches the network behind the gateway like any other.
func TestAPeerWithEverythingIsNotSentBack(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	all := p.conf
	all.AllowedIPs = prefixes("0.0.0.0/0", "::/0")
	l.g.ChangePeers([]engine.PeerChange{{Before: &p.conf, After: &all}})
	c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), listen(t, loopback4, echo))
	require.NoError(t, err)
	c.Close()
}

// RFC 1122, 3.2.2: no error is sent about an error.
func TestErrorsAreNotAnsweredWithErrors(t *testing.T) {
	l := newLab(t, Options{})
	a := l.wire(2, false)
	about := quoteUDP(netip.AddrPortFrom(a.addr, 1), netip.MustParseAddrPort("192.0.2.1:1"))
	m := make([]byte, 8, 8+len(about))
	m[0], m[1] = 3, 1
	l.send(ip(a.addr, netip.MustParseAddr("192.0.2.1"), header.ICMPv4ProtocolNumber, 1, append(m, about...)))
	l.send(ping(t, a.addr, netip.MustParseAddr("192.0.2.1"), 1, 7, 1, nil))
	_, got := parse(t, a.next(t))
	require.IsType(t, &icmp.TimeExceeded{}, got.Body, "that of the echo request")
	require.Empty(t, a.got)
}

// Before anybody has said what is allowed nothing is carried, and a SYN is left to come again.
func TestNothingIsCarriedBeforeThePolicy(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	policy := l.g.access.Swap(nil)
	target := listen(t, loopback4, echo)
	connected := make(chan error, 1)
	go func() {
		c, err := p.DialContextTCPAddrPort(l.t.Context(), target)
		if err == nil {
			c.Close()
		}
		connected <- err
	}()
	require.Eventually(t, func() bool { return l.count(p, RefusedStarting) > 0 }, 5*time.Second, time.Millisecond)
	l.g.access.Store(policy)
	require.NoError(t, <-connected)
}
