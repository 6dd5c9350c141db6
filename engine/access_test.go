package engine_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

func accessRules(t require.TestingT, texts ...string) []engine.AccessRule {
	var out []engine.AccessRule
	for _, text := range texts {
		r, err := engine.ParseAccessRule(text)
		require.NoError(t, err)
		out = append(out, r)
	}
	return out
}

func TestDecide(t *testing.T) {
	peer := wgtypes.Key{1}
	type lists struct{ nodeAllow, nodeDeny, peerAllow, peerDeny []string }
	for name, tt := range map[string]struct {
		lists
		to   string
		want engine.Refusal
	}{
		"all by default":                      {lists{}, "tcp 192.0.2.1:443", ""},
		"loopback is protected":               {lists{}, "tcp 127.0.0.1:5432", engine.RefusedProtected},
		"all of it":                           {lists{}, "udp 127.255.255.254:53", engine.RefusedProtected},
		"and of IPv6":                         {lists{}, "tcp [::1]:443", engine.RefusedProtected},
		"mapped as well":                      {lists{}, "tcp [::ffff:127.0.0.1]:443", engine.RefusedProtected},
		"behind NAT64 as well":                {lists{}, "tcp [64:ff9b::7f00:1]:443", engine.RefusedProtected},
		"link-local is protected":             {lists{}, "tcp 169.254.169.254:80", engine.RefusedProtected},
		"of IPv6":                             {lists{}, "tcp [fe80::1]:80", engine.RefusedProtected},
		"in a zone too":                       {lists{}, "tcp [fe80::1%eth0]:80", engine.RefusedProtected},
		"loopback in a zone":                  {lists{}, "tcp [::1%lo]:80", engine.RefusedProtected},
		"a zone does not evade a deny":        {lists{nodeDeny: []string{"2001:db8::/32"}}, "tcp [2001:db8::1%eth0]:80", engine.RefusedDenied},
		"metadata of AWS":                     {lists{}, "tcp [fd00:ec2::254]:80", engine.RefusedProtected},
		"of Azure":                            {lists{}, "tcp 168.63.129.16:80", engine.RefusedProtected},
		"any opens nothing protected":         {lists{nodeAllow: []string{"any"}}, "tcp 127.0.0.1:80", engine.RefusedProtected},
		"nor does what is wider":              {lists{nodeAllow: []string{"126.0.0.0/7"}}, "tcp 127.0.0.1:80", engine.RefusedProtected},
		"what lies within does":               {lists{nodeAllow: []string{"127.0.0.1 tcp 5432"}}, "tcp 127.0.0.1:5432", ""},
		"for what it names":                   {lists{nodeAllow: []string{"127.0.0.1 tcp 5432"}}, "tcp 127.0.0.1:5433", engine.RefusedProtected},
		"the peer's list opens too":           {lists{peerAllow: []string{"169.254.0.0/16"}}, "tcp 169.254.169.254:80", ""},
		"a peer's list stands in for that":    {lists{nodeAllow: []string{"127.0.0.0/8"}, peerAllow: []string{"192.0.2.1"}}, "tcp 127.0.0.1:80", engine.RefusedProtected},
		"unspecified is loopback to a host":   {lists{nodeAllow: []string{"0.0.0.0/8"}}, "tcp 0.0.0.0:80", engine.RefusedProtected},
		"and of IPv6, never":                  {lists{nodeAllow: []string{"::/128"}}, "tcp [::]:80", engine.RefusedProtected},
		"multicast, never":                    {lists{nodeAllow: []string{"224.0.0.0/4"}}, "udp 224.0.0.251:5353", engine.RefusedProtected},
		"broadcast, never":                    {lists{nodeAllow: []string{"255.255.255.255"}}, "udp 255.255.255.255:67", engine.RefusedProtected},
		"own port":                            {lists{}, "tcp 198.51.100.7:8080", engine.RefusedOwnPort},
		"any does not open it":                {lists{nodeAllow: []string{"any"}}, "tcp 198.51.100.7:8080", engine.RefusedOwnPort},
		"its address does not":                {lists{nodeAllow: []string{"198.51.100.7 tcp"}}, "tcp 198.51.100.7:8080", engine.RefusedOwnPort},
		"its port does":                       {lists{nodeAllow: []string{"198.51.100.7 tcp 8000-8100"}}, "tcp 198.51.100.7:8080", ""},
		"another port of the host is open":    {lists{}, "tcp 198.51.100.7:80", ""},
		"that port of another host is open":   {lists{}, "tcp 198.51.100.8:8080", ""},
		"deny of the node":                    {lists{nodeDeny: []string{"10.0.0.0/8"}}, "tcp 10.1.2.3:80", engine.RefusedDenied},
		"deny of the peer":                    {lists{peerDeny: []string{"10.0.0.0/8"}}, "icmp 10.1.2.3:0", engine.RefusedDenied},
		"deny wins":                           {lists{nodeDeny: []string{"10.0.0.0/8"}, peerAllow: []string{"10.1.2.3"}}, "tcp 10.1.2.3:80", engine.RefusedDenied},
		"deny of another protocol":            {lists{nodeDeny: []string{"any udp 53"}}, "tcp 10.1.2.3:53", ""},
		"not listed":                          {lists{nodeAllow: []string{"10.0.0.0/8"}}, "tcp 192.0.2.1:80", engine.RefusedNotListed},
		"listed":                              {lists{nodeAllow: []string{"10.0.0.0/8"}}, "tcp 10.1.2.3:80", ""},
		"the peer's list stands in":           {lists{nodeAllow: []string{"10.0.0.0/8"}, peerAllow: []string{"192.0.2.0/24"}}, "tcp 10.1.2.3:80", engine.RefusedNotListed},
		"a rule for IPv4 does not cover IPv6": {lists{nodeAllow: []string{"0.0.0.0/0"}}, "tcp [2001:db8::1]:80", engine.RefusedNotListed},
	} {
		t.Run(name, func(t *testing.T) {
			p := engine.AccessPolicy{
				Node:          engine.Access{Allow: accessRules(t, tt.nodeAllow...), Deny: accessRules(t, tt.nodeDeny...)},
				Peers:         map[wgtypes.Key]engine.Access{peer: {Allow: accessRules(t, tt.peerAllow...), Deny: accessRules(t, tt.peerDeny...)}},
				HostAddresses: []netip.Addr{netip.MustParseAddr("198.51.100.7")}, OwnPorts: []uint16{8080},
			}
			var word, at string
			_, err := fmt.Sscan(tt.to, &word, &at)
			require.NoError(t, err)
			proto, err := engine.ParseProtocol(word)
			require.NoError(t, err)
			require.Equal(t, tt.want, p.Decide(peer, proto, netip.MustParseAddrPort(at)))
		})
	}
}

// Whatever the lists say: what a deny list names is never reached, and loopback only by a rule that lies within it.
func TestDecideNeverOpensByChance(t *testing.T) {
	words := []string{
		"any", "0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.2.3", "10.1.2.3 tcp 80", "any udp", "any icmp", "any tcp 1-100", "126.0.0.0/7", "::/127",
	}
	inside := []string{"127.0.0.0/8", "127.0.0.1 tcp 80", "::1"}
	addrs := []string{"10.1.2.3", "127.0.0.1", "::1", "192.0.2.1", "2001:db8::1", "::ffff:10.1.2.3"}
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string, from []string) []engine.AccessRule {
			return accessRules(t, rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(t, label)...)
		}
		key := wgtypes.Key{1}
		p := engine.AccessPolicy{
			Node:  engine.Access{Allow: some("allow", append(inside, words...)), Deny: some("deny", words)},
			Peers: map[wgtypes.Key]engine.Access{key: {Allow: some("peer allow", append(inside, words...)), Deny: some("peer deny", words)}},
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(addrs).Draw(t, "to")), rapid.SampledFrom([]uint16{0, 80, 443}).Draw(t, "port"))
		proto := rapid.SampledFrom([]engine.Protocol{engine.ProtocolICMP, engine.ProtocolTCP, engine.ProtocolUDP}).Draw(t, "proto")
		if p.Decide(key, proto, to) != "" {
			return
		}
		plain := netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		for _, r := range append(p.Node.Deny, p.Peers[key].Deny...) {
			require.False(t, r.Covers(proto, plain))
		}
		list := p.Peers[key].Allow
		if len(list) == 0 {
			list = p.Node.Allow
		}
		named := len(list) == 0
		opened := !plain.Addr().IsLoopback()
		for _, r := range list {
			named = named || r.Covers(proto, plain)
			opened = opened || r.Covers(proto, plain) && r.Prefix.IsValid() && r.Prefix.Addr().IsLoopback() && r.Prefix.Bits() >= 8
		}
		require.True(t, named && opened)
	})
}

func TestDecideAllocatesNothing(t *testing.T) {
	p := engine.AccessPolicy{Node: engine.Access{Allow: accessRules(t, "10.0.0.0/8", "any tcp 443"), Deny: accessRules(t, "10.9.0.0/16")}}
	to := netip.MustParseAddrPort("192.0.2.1:443")
	require.Zero(t, testing.AllocsPerRun(100, func() { p.Decide(wgtypes.Key{1}, engine.ProtocolTCP, to) }))
}

func TestAccessRuleRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "10.0.0.0/33", "10.0.0", "example.test", "any tcp 0x50", "any tcp 80-", "any tcp 90-80", "any icmp 8", "any 80",
		"any tcp 80 90", "any tcp 65536", "any gre", "fe80::1%eth0", "::ffff:10.0.0.0/104", "any tcp ,",
	} {
		_, err := engine.ParseAccessRule(text)
		require.ErrorContains(t, err, "expected any, an address or a prefix", "%q", text)
	}
}

func FuzzParseAccessRule(f *testing.F) {
	for _, text := range []string{"any", "10.0.0.0/8 tcp 80,443,8000-8100", "fd00::/8 icmp", "any udp 53", "192.0.2.1 any"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := engine.ParseAccessRule(text)
		if err != nil {
			return
		}
		again, err := engine.ParseAccessRule(r.String())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}

func FuzzParseLimits(f *testing.F) {
	for _, text := range []string{"connections=100 rate=10 bandwidth=10M", "rate=none", "bandwidth=1500K"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := engine.ParseLimits(text)
		if err != nil {
			return
		}
		again, err := engine.ParseLimits(l.String())
		require.NoError(t, err)
		require.Equal(t, l, again)
	})
}

func FuzzParsePublished(f *testing.F) {
	for _, text := range []string{"tcp :8443 10.8.0.5:443", "udp 0.0.0.0:53 [fd00::2]:53", "tcp [::1]:80 10.8.0.5:80"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := engine.ParsePublished(text)
		if err != nil {
			return
		}
		again, err := engine.ParsePublished(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func TestLimits(t *testing.T) {
	l, err := engine.ParseLimits("rate=none bandwidth=10M")
	require.NoError(t, err)
	require.Equal(t, engine.Limits{Rate: engine.NoLimit, Bandwidth: 10_000_000}, l)
	require.Equal(t, engine.Limits{Connections: 7, Rate: engine.NoLimit, Bandwidth: 10_000_000}, l.Or(engine.Limits{Connections: 7, Rate: 5}))
	for _, text := range []string{"", "rate", "rate=", "rate=0", "rate=-1", "rate=1K", "bandwidth=1m", "bandwidth=99999999999G", "rate=1 rate=2", "speed=1"} {
		_, err := engine.ParseLimits(text)
		require.ErrorContains(t, err, "expected connections=", "%q", text)
	}
}
