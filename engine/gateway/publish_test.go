package gateway

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// freePort is one that was free a moment ago.
func freePort(t *testing.T, network string) netip.AddrPort {
	t.Helper()
	if network == "udp" {
		c, at := hostUDP(t, loopback4)
		c.Close()
		return at
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return addrPortOf(ln.Addr())
}

func TestPublishedTCP(t *testing.T) {
	at, target := freePort(t, "tcp"), netip.MustParseAddrPort("10.8.0.2:443")
	l := newLab(t, Options{})
	l.set(engine.GatewayConfig{Published: []engine.Published{{Protocol: engine.ProtocolTCP, Listen: at, Target: target}}})
	p := l.join(2)
	ln, err := p.ListenTCPAddrPort(target)
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", at.String())
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.EqualValues(t, 5, l.g.Stats().Peers[p.conf.PublicKey].RxBytes)

	ln.Close()
	refused, err := net.Dial("tcp", at.String())
	if err == nil { // else the reset was quick
		_, err = io.ReadAll(refused)
		refused.Close()
	}
	require.ErrorContains(t, err, "reset", "nobody listens at the peer")
}

func TestPublishedUDP(t *testing.T) {
	at, target := freePort(t, "udp"), netip.MustParseAddrPort("10.8.0.2:5353")
	l := newLab(t, Options{})
	l.set(engine.GatewayConfig{Published: []engine.Published{{Protocol: engine.ProtocolUDP, Listen: at, Target: target}}})
	p := l.join(2)
	server, err := p.ListenUDPAddrPort(target)
	require.NoError(t, err)
	defer server.Close()
	c, err := net.Dial("udp", at.String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = c.Write([]byte("question"))
	require.NoError(t, err)
	b := make([]byte, 100)
	n, from, err := server.ReadFrom(b)
	require.NoError(t, err)
	require.Equal(t, "question", string(b[:n]))
	_, err = server.WriteTo([]byte("answer"), from)
	require.NoError(t, err)
	n, err = c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "answer", string(b[:n]))
	f := l.g.Flows()
	require.Len(t, f, 1)
	require.Equal(t, engine.DirectionIn, f[0].Direction)
	require.EqualValues(t, len("question"), f[0].TxBytes)
	require.EqualValues(t, len("answer"), f[0].RxBytes)
}

func TestAPublishedPortThatIsTakenIsAnError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	l := newLab(t, Options{})
	p := l.join(2)
	c := engine.GatewayConfig{Published: []engine.Published{{Protocol: engine.ProtocolTCP, Listen: addrPortOf(ln.Addr())}}}
	c.Access.Node.Deny = []engine.AccessRule{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	err = l.g.Set(c)
	var field *engine.FieldError
	require.ErrorAs(t, err, &field)
	require.Contains(t, field.Reason, "in use")
	_, err = p.DialContextTCPAddrPort(l.context(10*time.Second), netip.MustParseAddrPort("127.0.0.1:9"))
	require.ErrorContains(t, err, "no route", "all else is in force")
}

// What is published no more is closed, with what it carries; what stays is not touched.
func TestPublishedChanges(t *testing.T) {
	l := newLab(t, Options{})
	p := l.join(2)
	target := netip.MustParseAddrPort("10.8.0.2:443")
	ln, err := p.ListenTCPAddrPort(target)
	require.NoError(t, err)
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	stays := engine.Published{Protocol: engine.ProtocolTCP, Listen: freePort(t, "tcp"), Target: target}
	goes := engine.Published{Protocol: engine.ProtocolTCP, Listen: freePort(t, "tcp"), Target: target}
	l.set(engine.GatewayConfig{Published: []engine.Published{stays, goes}})
	dial := func(p engine.Published) net.Conn {
		c, err := net.Dial("tcp", p.Listen.String())
		require.NoError(t, err)
		_, err = c.Write([]byte("x"))
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	kept, gone := dial(stays), dial(goes)
	l.set(engine.GatewayConfig{Published: []engine.Published{stays}})
	_, err = io.ReadAll(gone)
	require.ErrorContains(t, err, "reset")
	_, err = net.Dial("tcp", goes.Listen.String())
	require.ErrorContains(t, err, "refused")
	another := goes
	another.Target = netip.MustParseAddrPort("10.8.0.2:444")
	l.set(engine.GatewayConfig{Published: []engine.Published{stays, goes}})
	l.set(engine.GatewayConfig{Published: []engine.Published{stays, another}}) // the port is free at once
	_, err = kept.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(kept, make([]byte, 1))
	require.NoError(t, err)
}
