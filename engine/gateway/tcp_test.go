package gateway

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/wgfleet/wgfleet/engine"
)

var families = map[string]netip.Addr{"IPv4": loopback4, "IPv6": loopback6}

func TestTCPIsCarried(t *testing.T) {
	for name, host := range families {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			p := l.join(2)
			target := listen(t, host, echo)
			c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
			require.NoError(t, err)
			defer c.Close()
			data := make([]byte, 3<<20)
			source := rand.NewChaCha8([32]byte{1})
			_, _ = source.Read(data)
			sent := make(chan error, 1)
			go func() {
				_, err := io.Copy(c, bytes.NewReader(data))
				if err == nil {
					err = c.CloseWrite() // the echo ends only where a half close passes
				}
				sent <- err
			}()
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.NoError(t, <-sent)
			require.Equal(t, sha256.Sum256(data), sha256.Sum256(got))
			require.Eventually(t, func() bool { return len(l.g.Flows()) == 0 }, 5*time.Second, time.Millisecond, "both sides are closed")
			s := l.g.Stats().Peers[p.conf.PublicKey]
			require.EqualValues(t, len(data), s.TxBytes)
			require.EqualValues(t, len(data), s.RxBytes)
			require.EqualValues(t, 1, s.Opened)
		})
	}
}

func TestRefusedPortIsRefused(t *testing.T) {
	for name, host := range families {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			p := l.join(2)
			ln, err := net.Listen("tcp", netip.AddrPortFrom(host, 0).String())
			require.NoError(t, err)
			nobody := addrPortOf(ln.Addr())
			ln.Close()
			_, err = p.DialContextTCPAddrPort(l.context(10*time.Second), nobody)
			require.ErrorContains(t, err, "refused")
			require.EqualValues(t, 1, l.g.Stats().Peers[p.conf.PublicKey].Failures)
			require.Empty(t, l.g.Flows())
		})
	}
}

func TestResetsPass(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	t.Run("from the host", func(t *testing.T) {
		target := listen(t, loopback4, func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, 1))
			reset(c)
		})
		c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadAll(c)
		require.ErrorContains(t, err, "reset")
	})
	t.Run("from the peer", func(t *testing.T) {
		over := make(chan error, 1)
		target := listen(t, loopback4, func(c *net.TCPConn) {
			_, err := io.Copy(io.Discard, c)
			over <- err
		})
		s := &stream{}
		require.NoError(t, l.peerDial(p, s, target))
		s.peer.Abort()
		require.ErrorContains(t, <-over, "reset")
		s.peer.Close()
	})
}

func TestDeniedIsToldSo(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	target := listen(t, loopback4, echo)
	l.set(engine.GatewayConfig{Access: engine.AccessPolicy{Node: engine.Access{
		Deny: []engine.AccessRule{{Prefix: netip.MustParsePrefix("127.0.0.1/32")}},
	}}})
	_, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
	require.ErrorContains(t, err, "no route to host", "an ICMP error, no timeout")
	require.EqualValues(t, 1, l.count(p, engine.RefusedDenied))
}

func TestAPolicyEndsWhatItForbids(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	target := listen(t, loopback4, echo)
	c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
	require.NoError(t, err)
	defer c.Close()
	require.Len(t, l.g.Flows(), 1)
	l.set(engine.GatewayConfig{Access: engine.AccessPolicy{Node: engine.Access{
		Deny: []engine.AccessRule{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}},
	}}})
	_, err = io.ReadAll(c)
	require.ErrorContains(t, err, "reset")
	require.Empty(t, l.g.Flows())
}

func TestARemovedPeersFlowsEnd(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	over := make(chan error, 1)
	target := listen(t, loopback4, func(c *net.TCPConn) {
		_, err := io.Copy(io.Discard, c)
		over <- err
	})
	c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
	require.NoError(t, err)
	defer c.Close()
	l.g.ChangePeers([]engine.PeerChange{{Before: &p.conf}})
	require.ErrorContains(t, <-over, "reset")
	require.Empty(t, l.g.Flows())
}

func TestConnectionLimitRefusesTheNewest(t *testing.T) {
	l := newLab(t, Options{Limits: engine.Limits{Connections: 3}})
	p, other := l.join(2), l.join(3)
	target := listen(t, loopback4, echo)
	for range 3 {
		c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
		require.NoError(t, err)
		defer c.Close()
		defer func() {
			_, err := c.Write([]byte("x"))
			require.NoError(t, err, "what was there goes on")
		}()
	}
	_, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
	require.ErrorContains(t, err, "refused")
	require.EqualValues(t, 1, l.count(p, RefusedConnections))
	c, err := other.DialContextTCPAddrPort(l.context(10*time.Second), target)
	require.NoError(t, err, "another peer is not concerned")
	c.Close()
}

// A peer that begins and says no more: what waits for it ends with the flow, and Close (see newLab) waits for no time-out.
func TestHalfOpenConnectionsEnd(t *testing.T) {
	l := newLab(t, Options{})
	accepted, over := make(chan struct{}, 3), make(chan error, 3)
	target := listen(t, loopback4, func(c *net.TCPConn) {
		accepted <- struct{}{}
		_, err := io.Copy(io.Discard, c)
		over <- err
	})
	w := l.wire(2, false)
	for port := range uint16(3) {
		l.send(syn(w.addr, target, 1000+port))
	}
	for range 3 {
		<-accepted
		w.next(t) // the answer, which w ignores
	}
	require.Len(t, l.g.Flows(), 3)
	l.g.ChangePeers([]engine.PeerChange{{Before: &w.conf}})
	for range 3 {
		require.ErrorContains(t, <-over, "reset")
	}
	require.Eventually(t, func() bool { return l.g.dialing.empty() }, 5*time.Second, time.Millisecond)
}

func syn(src netip.Addr, dst netip.AddrPort, port uint16) []byte {
	h := header.TCP(make([]byte, header.TCPMinimumSize))
	h.Encode(&header.TCPFields{
		SrcPort: port, DstPort: dst.Port(), SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 65535,
	})
	h.SetChecksum(^h.CalculateChecksum(header.PseudoHeaderChecksum(header.TCPProtocolNumber,
		tcpip.AddrFromSlice(src.AsSlice()), tcpip.AddrFromSlice(dst.Addr().AsSlice()), uint16(len(h)))))
	return ip(src, dst.Addr(), header.TCPProtocolNumber, 64, h)
}
