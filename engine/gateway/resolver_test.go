package gateway

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/wgfleet/wgfleet/engine"
)

// nameserver answers every question for an address with 192.0.2.7, over UDP and TCP, on one port.
func nameserver(t *testing.T) netip.AddrPort {
	t.Helper()
	var u *net.UDPConn
	var ln net.Listener
	var at netip.AddrPort
	for ln == nil { // until a port is free in both
		u, at = hostUDP(t, loopback4)
		ln, _ = net.Listen("tcp", at.String())
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(answerOf(t, b[:n]), from)
		}
	}()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if q, err := readMessage(c); err == nil {
				_ = writeMessage(c, answerOf(t, q))
			}
			c.Close()
		}
	}()
	return at
}

func answerOf(t *testing.T, question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		t.Error(err)
		return nil
	}
	m.Response = true
	m.Additionals = nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 7}},
		}}
	}
	out, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return out
}

func TestResolver(t *testing.T) {
	server := nameserver(t)
	silent, silentAt := hostUDP(t, loopback4)
	_ = silent
	for name, servers := range map[string][]netip.AddrPort{"one": {server}, "the first is silent": {silentAt, server}} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+" "+network, func(t *testing.T) {
				l := newLab(t, Options{
					Timeouts:    Timeouts{Nameserver: 100 * time.Millisecond},
					Nameservers: func() ([]netip.AddrPort, error) { return servers, nil },
				})
				l.set(engine.GatewayConfig{Resolver: true})
				p := l.join(2)
				r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					at := netip.AddrPortFrom(nodeAddrs[0].Addr(), dnsPort)
					if network == "tcp" {
						return p.DialContextTCPAddrPort(ctx, at)
					}
					return p.DialUDPAddrPort(netip.AddrPort{}, at)
				}}
				got, err := r.LookupNetIP(l.context(10*time.Second), "ip4", "example.test.")
				require.NoError(t, err)
				require.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.7")}, got)
				l.set(engine.GatewayConfig{})
				require.Eventually(t, func() bool { // in the stack a connection that ends holds the port for a moment
					return l.g.Set(engine.GatewayConfig{Resolver: true}) == nil
				}, 15*time.Second, 10*time.Millisecond)
			})
		}
	}
}

func TestNameserversOfTheHost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"as usual":             {"# a comment\nsearch example.test\nnameserver 192.0.2.1\nnameserver 2001:db8::1\noptions edns0\n", []string{"192.0.2.1:53", "[2001:db8::1]:53"}},
		"none":                 {"search example.test\n", []string{"127.0.0.1:53"}},
		"a name is no address": {"nameserver example.test\nnameserver 192.0.2.1\n", []string{"192.0.2.1:53"}},
		"nor is nothing":       {"nameserver\n", []string{"127.0.0.1:53"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			got, err := nameserversOf(path)
			require.NoError(t, err)
			var texts []string
			for _, a := range got {
				texts = append(texts, a.String())
			}
			require.Equal(t, tt.want, texts)
		})
	}
}
