package server

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// nameServer answers from a table; a host that is not in it can't be found. It counts the questions.
type nameServer struct {
	mu    sync.Mutex
	hosts map[string][]netip.Addr
	asked map[string]int
}

func newNameServer(hosts map[string]string) *nameServer {
	s := &nameServer{hosts: make(map[string][]netip.Addr), asked: make(map[string]int)}
	for host, addrs := range hosts {
		s.set(host, addrs)
	}
	return s
}

// set gives a host its addresses, separated by spaces; "": it can't be found.
func (s *nameServer) set(host, addrs string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[host] = nil
	for a := range strings.FieldsSeq(addrs) {
		s.hosts[host] = append(s.hosts[host], netip.MustParseAddr(a))
	}
}

func (s *nameServer) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[host]++
	addrs := s.hosts[host]
	if len(addrs) == 0 {
		return nil, errors.New("no such host")
	}
	return append([]netip.Addr{}, addrs...), nil
}

func (s *nameServer) questions(host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[host]
}

func TestNearest(t *testing.T) {
	endpoints := func(list string) (out []netip.AddrPort) {
		for text := range strings.FieldsSeq(list) {
			out = append(out, netip.MustParseAddrPort(text))
		}
		return out
	}
	for name, c := range map[string]struct{ present, answer, want string }{
		"unknown":           {"", "192.0.2.1:1 192.0.2.2:1", "192.0.2.1:1"},
		"the present one":   {"192.0.2.2:1", "192.0.2.1:1 192.0.2.2:1", "192.0.2.2:1"},
		"its address":       {"192.0.2.2:9", "192.0.2.1:1 192.0.2.2:1", "192.0.2.2:1"},
		"its family":        {"[2001:db8::9]:1", "192.0.2.1:1 [2001:db8::1]:1", "[2001:db8::1]:1"},
		"the other family":  {"[2001:db8::9]:1", "192.0.2.1:1", "192.0.2.1:1"},
		"mapped is IPv4":    {"[::ffff:192.0.2.2]:1", "192.0.2.1:1 192.0.2.2:1", "192.0.2.2:1"},
		"mapped, of family": {"[::ffff:192.0.2.2]:1", "[2001:db8::1]:1 192.0.2.1:1", "192.0.2.1:1"},
	} {
		var present netip.AddrPort
		if c.present != "" {
			present = netip.MustParseAddrPort(c.present)
		}
		require.Equal(t, c.want, nearest(present, endpoints(c.answer)).String(), name)
	}
}

func section(n int, more string) string {
	return "\n[Peer]\nPublicKey = " + key(n) + "\nAllowedIPs = " + enginetest.PeerIP(n).String() + "/32\n" + more
}

const namedEndpoint = "Endpoint = vpn.example.com:51820\n"

// TestFileKeepsHostNames: what was looked up is the device's; the file has the words that were sent,
// and no write to another peer changes them.
func TestFileKeepsHostNames(t *testing.T) {
	names := newNameServer(map[string]string{"vpn.example.com": "192.0.2.1 192.0.2.2"})
	n := newNode(t, func(o *Options) { withConf(t)(o); o.Resolver = names })
	sync := func(text string) { n.mustDo("POST", "/v1/wg/wg0/syncconf", confBody(text)) }

	sync(section(1, namedEndpoint))
	require.Contains(t, n.conf("wg0"), namedEndpoint)
	require.Equal(t, "192.0.2.1:51820", n.device("wg0").Peers[0].Endpoint.String())

	was := n.conf("wg0")
	n.mustDo("PUT", peersPath+"/"+key(1), map[string]any{"persistent_keepalive": 25})
	n.mustDo("POST", peersPath, peer(2))
	n.restart()
	require.Contains(t, n.conf("wg0"), namedEndpoint)
	require.NotContains(t, n.conf("wg0"), "192.0.2")
	require.NotEqual(t, was, n.conf("wg0"))

	steps := n.fake().Steps()
	names.set("vpn.example.com", "192.0.2.2 192.0.2.1") // round robin
	sync(section(1, namedEndpoint+"PersistentKeepalive = 25\n") + section(2, ""))
	require.Equal(t, steps, n.fake().Steps(), "one of its addresses is in use")

	sync(section(1, "Endpoint = 192.0.2.3:51820\n"))
	require.Contains(t, n.conf("wg0"), "Endpoint = 192.0.2.3:51820")
}

// TestFileTakesTheNameOfAKnownAddress: the device needs no change for it.
func TestFileTakesTheNameOfAKnownAddress(t *testing.T) {
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", basicConf(t)+section(1, "Endpoint = 192.0.2.1:51820\n"))
		o.Resolver = newNameServer(map[string]string{"vpn.example.com": "192.0.2.1"})
	})
	steps := n.fake().Steps()
	r := n.mustDo("POST", "/v1/wg/wg0/syncconf", confBody(section(1, namedEndpoint)))
	require.Contains(t, string(r.body), `"unchanged":["`+key(1))
	require.Equal(t, steps, n.fake().Steps())
	require.Contains(t, n.conf("wg0"), namedEndpoint)
}

// TestHostNamesSurviveACrash: the file that lags behind gets the name that was asked for, and keeps
// the one that it has where nobody asked for an endpoint.
func TestHostNamesSurviveACrash(t *testing.T) {
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", bigConf(t, 1200)+section(1300, "Endpoint = old.example.com:7\n"))
		o.Resolver = newNameServer(map[string]string{"vpn.example.com": "192.0.2.1", "old.example.com": "192.0.2.9"})
	})
	n.mustDo("PUT", peersPath+"/"+key(1300), map[string]any{"persistent_keepalive": 25})
	_, peers, _ := strings.Cut(n.conf("wg0"), "\n[Peer]")
	conf := "[Peer]" + peers + section(1301, namedEndpoint)
	n.mustDo("POST", "/v1/wg/wg0/syncconf", confBody(conf))
	n.mustDo("PUT", peersPath+"/"+key(1301), map[string]any{"persistent_keepalive": 5})
	n.crash()
	require.Eventually(t, func() bool { return strings.Contains(n.conf("wg0"), key(1301)) }, 20*time.Second, 10*time.Millisecond)
	require.Contains(t, n.conf("wg0"), namedEndpoint)
	require.Contains(t, n.conf("wg0"), "Endpoint = old.example.com:7\n")
	require.NotContains(t, n.conf("wg0"), "192.0.2")
}

// TestFileOfAForeignChange: the whole device is kept then, but what was only seen of it is not the file's.
func TestFileOfAForeignChange(t *testing.T) {
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", bigConf(t, 1200)+section(1300, namedEndpoint))
		o.Resolver = newNameServer(map[string]string{"vpn.example.com": "192.0.2.1"})
	})
	other, _ := engine.Lookup(enginetest.Peers(1400), enginetest.PeerKey(1350))
	require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{After: &other}}}))
	n.mustDo("PUT", peersPath+"/"+key(1300), map[string]any{"persistent_keepalive": 25})
	require.Eventually(t, func() bool { return strings.Contains(n.conf("wg0"), "PersistentKeepalive = 25") }, 20*time.Second, 10*time.Millisecond)
	require.Contains(t, n.conf("wg0"), namedEndpoint)
}
