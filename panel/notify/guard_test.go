package notify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

func TestGuard(t *testing.T) {
	allow, err := ParseAllow([]string{"10.9.0.0/16", "127.0.0.2", "fe80::/64", "Hooks.Internal."})
	require.NoError(t, err)
	g := guard{allow: allow, agents: agents{
		hosts:     map[string]bool{"agent.example": true},
		addresses: map[netip.Addr]bool{netip.MustParseAddr("192.0.2.9"): true, netip.MustParseAddr("10.9.0.9"): true, netip.MustParseAddr("2001:db8::9"): true},
	}}
	for host, want := range map[string]string{
		"203.0.113.7": "", "192.168.1.5": "", "10.0.0.1": "", "2001:db8::1": "", "fd00::1": "", "example.org": "",
		"127.0.0.1": "loopback", "127.255.1.2": "loopback", "::1": "loopback", "localhost": "this host", "LOCALHOST.": "this host", "x.localhost": "this host",
		"0.0.0.0": "no address of another host", "0.1.2.3": "no address of another host", "::": "no address of another host",
		"169.254.1.1": "link-local", "fe80::1%eth0": "", "fe80:0:0:1::1": "link-local", "fec0::1": "link-local",
		"224.0.0.1": "no address of one host", "ff02::1": "no address of one host", "255.255.255.255": "no address of one host",
		"169.254.169.254": "metadata", "fd00:ec2::254": "metadata", "100.100.100.200": "metadata", "168.63.129.16": "metadata",
		"::ffff:127.0.0.1": "loopback", "::ffff:169.254.169.254": "metadata", "::127.0.0.1": "loopback", "::ffff:0:127.0.0.1": "loopback",
		"64:ff9b::7f00:1": "loopback", "64:ff9b::a9fe:a9fe": "metadata", "64:ff9b::cb00:7107": "", "64:ff9b:1::7f00:1": "translated",
		"2002:7f00:1::": "loopback", "2002:a9fe:a9fe::1": "metadata", "2002:cb00:7107::1": "",
		"2001:0:7f00:1::": "loopback", "2001:0:cb00:7107:0:0:80ff:fffe": "loopback", "2001:db8::5efe:7f00:1": "loopback", "2001:db8::200:5efe:7f00:1": "loopback",
		"192.0.2.9": "agent", "::ffff:192.0.2.9": "agent", "64:ff9b::c000:209": "agent", "2001:db8::9": "agent", "agent.example": "agent", "AGENT.example.": "agent",
		"10.9.0.9": "", "127.0.0.2": "", "hooks.internal": "",
	} {
		err := g.checkHost(host)
		if want == "" {
			require.NoError(t, err, host)
			continue
		}
		require.ErrorIs(t, err, errForbidden, host)
		require.ErrorContains(t, err, want, host)
		require.ErrorContains(t, err, "WGFLEET_NOTIFY_ALLOW", host)
	}
	require.NoError(t, g.check("hooks.internal", netip.MustParseAddr("127.0.0.1")), "an allowed name may be anywhere")
	for _, bad := range []string{"10.0.0.0/33", "a b", "http://x", "::ffff:10.0.0.0/100", ""} {
		_, err := ParseAllow([]string{bad})
		require.ErrorContains(t, err, "is not an address", bad)
	}
}

// serverFailure is no address: the server fails to answer.
const serverFailure = "0.0.0.0"

// nameServer answers each question for an IPv4 address with the next of its addresses; the last one stays.
func nameServer(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for asked := 0; ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				text := addresses[min(asked, len(addresses)-1)]
				if text == serverFailure {
					m.RCode = dnsmessage.RCodeServerFailure
				}
				a := netip.MustParseAddr(text).As4()
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}, Body: &dnsmessage.AResource{A: a}}}
				asked++
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A name that was a good one when the channel was made turns to loopback: nothing is sent there. A name that is
// allowed may.
func TestNamesThatTurnAreRefused(t *testing.T) {
	var calls atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer receiver.Close()
	_, port, err := net.SplitHostPort(receiver.Listener.Addr().String())
	require.NoError(t, err)
	resolver := nameServer(t, "203.0.113.7", "127.0.0.1")
	first, err := resolver.LookupNetIP(t.Context(), "ip4", "turns.example")
	require.NoError(t, err)
	require.Equal(t, "203.0.113.7", first[0].String())

	w := newWorld(t, func(o *Options) { o.Resolver, o.Allow = resolver, Allow{} })
	c := w.create(Input{URL: new(Secret("http://turns.example:" + port + "/" + urlToken))})
	d, err := w.Test(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, Failed, d.Status)
	require.Contains(t, d.Error, "127.0.0.1 is a loopback address")
	require.Zero(t, calls.Load())

	allow, err := ParseAllow([]string{"turns.example"})
	require.NoError(t, err)
	w.again(func(o *Options) { o.Resolver, o.Allow = resolver, allow })
	d, err = w.Test(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, Delivered, d.Status, d.Error)
	require.EqualValues(t, 1, calls.Load())
}

// An agent's name stands for its address, under whatever other name that is reached; an agent on this host's loopback
// stands for all its addresses.
func TestAgentsAreNoReceivers(t *testing.T) {
	resolver := nameServer(t, "198.51.100.4")
	var hosts []string
	failing := false
	w := newWorld(t, func(o *Options) {
		o.Resolver, o.Allow = resolver, Allow{}
		o.Agents = func(context.Context) ([]string, error) {
			if failing {
				return nil, errors.New("the store is closed")
			}
			return hosts, nil
		}
		o.OwnAddresses = func() ([]netip.Addr, error) { return []netip.Addr{netip.MustParseAddr("192.0.2.77")}, nil }
	})
	refused := func(host string) string {
		t.Helper()
		w.agents = newAgentBook() // it is known for a minute
		conn, err := w.dial(t.Context(), "tcp", net.JoinHostPort(host, "1"))
		if err == nil {
			conn.Close()
		}
		require.Error(t, err)
		return err.Error()
	}
	hosts = []string{"agent.example"}
	require.Contains(t, refused("alias.example"), "198.51.100.4 is where an agent answers")
	require.Contains(t, refused("agent.example"), "agent.example is where an agent answers")
	hosts = []string{"198.51.100.4", "127.0.0.1"}
	require.Contains(t, refused("alias.example"), "is where an agent answers")
	require.Contains(t, refused("192.0.2.77"), "is where an agent answers")
	failing = true
	require.Contains(t, refused("203.0.113.7"), "the agents' addresses are not known")
	failing = false
	_, _, err := w.Create(t.Context(), Input{Name: new("x"), Kind: new(Slack), URL: new(Secret("https://198.51.100.4/x"))})
	require.ErrorContains(t, err, "url: 198.51.100.4 is where an agent answers")
	require.NotContains(t, err.Error(), "/x")
}

// A name server that fails says nothing of where an agent is: nothing is sent unless it was known before.
func TestAgentsThatCantBeLookedUp(t *testing.T) {
	now := began
	hosts := []string{"agent.example"}
	w := newWorld(t, func(o *Options) {
		o.Allow, o.Now = Allow{}, func() time.Time { return now }
		o.Agents = func(context.Context) ([]string, error) { return hosts, nil }
	})
	find := func(addresses ...string) (agents, error) {
		t.Helper()
		w.o.Resolver = nameServer(t, addresses...)
		return w.findAgents(t.Context())
	}
	_, err := find(serverFailure)
	require.ErrorContains(t, err, "agent.example")
	conn, err := w.dial(t.Context(), "tcp", "203.0.113.7:1")
	require.ErrorContains(t, err, "the agents' addresses are not known")
	require.Nil(t, conn)

	found, err := find("198.51.100.4")
	require.NoError(t, err)
	require.Equal(t, map[netip.Addr]bool{netip.MustParseAddr("198.51.100.4"): true}, found.addresses)
	now = now.Add(agentsFor)
	found, err = find(serverFailure)
	require.NoError(t, err)
	require.True(t, found.addresses[netip.MustParseAddr("198.51.100.4")], "it is where it was last known to be")

	hosts = append(hosts, "next.example")
	found, err = find("198.51.100.5")
	require.NoError(t, err)
	require.True(t, found.addresses[netip.MustParseAddr("198.51.100.5")], "a node that is new counts at once")
}
