package engine_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

// lies reports whether the first bits of an address are those of a prefix, one bit after the other.
func lies(a netip.Addr, prefix string) bool {
	p := netip.MustParsePrefix(prefix)
	x, y := a.AsSlice(), p.Addr().AsSlice()
	if len(x) != len(y) {
		return false
	}
	for i := range p.Bits() {
		if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}

var (
	neverAreas  = []string{"0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8"}
	closedAreas = []string{
		"127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10",
		"168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128",
	}
)

// oracle is Decide as it is described, slowly: each condition is computed, then the first that holds is the answer.
type oracle struct {
	policy engine.AccessPolicy
	peer   wgtypes.Key
	proto  engine.Protocol
}

func (o oracle) decide(to netip.AddrPort) engine.Refusal {
	bytes := to.Addr().As16()
	views := []netip.Addr{netip.AddrFrom16(bytes).Unmap()} // without a zone
	if to.Addr().Is4() {
		views = []netip.Addr{to.Addr()}
	}
	if lies(views[0], "64:ff9b::/96") {
		views = []netip.Addr{netip.AddrFrom4([4]byte(bytes[12:])), views[0]}
	}
	for _, a := range views {
		if why := o.judge(a, to.Port()); why != "" {
			return why
		}
	}
	return ""
}

func (o oracle) judge(a netip.Addr, port uint16) engine.Refusal {
	in := func(area string) bool { return lies(a, area) }
	lists := o.policy.Peers[o.peer]
	covering := func(rules []engine.AccessRule) []engine.AccessRule {
		return slices.DeleteFunc(slices.Clone(rules), func(r engine.AccessRule) bool { return !o.names(r, a, port) })
	}
	inForce := lists.Allow
	if len(inForce) == 0 {
		inForce = o.policy.Node.Allow
	}
	open := covering(inForce)
	area := slices.IndexFunc(closedAreas, in)
	listed := slices.ContainsFunc(open, func(r engine.AccessRule) bool {
		return area >= 0 && r.Prefix.IsValid() && lies(r.Prefix.Addr(), closedAreas[area]) && r.Prefix.Bits() >= netip.MustParsePrefix(closedAreas[area]).Bits()
	})
	hosts := slices.Contains(o.policy.HostAddresses, a) || in("127.0.0.0/8") || in("::1/128")
	own := o.proto == engine.ProtocolTCP && hosts && slices.Contains(o.policy.OwnPorts, port)
	switch {
	case len(covering(slices.Concat(lists.Deny, o.policy.Node.Deny))) > 0:
		return engine.RefusedDenied
	case slices.ContainsFunc(neverAreas, in), area >= 0 && !listed:
		return engine.RefusedProtected
	case own && !slices.ContainsFunc(open, func(r engine.AccessRule) bool { return len(r.Ports) > 0 }):
		return engine.RefusedOwnPort
	case len(inForce) > 0 && len(open) == 0:
		return engine.RefusedNotListed
	}
	return ""
}

func (o oracle) names(r engine.AccessRule, a netip.Addr, port uint16) bool {
	place := !r.Prefix.IsValid() || lies(a, r.Prefix.String())
	spoken := r.Protocol == engine.ProtocolAny || r.Protocol == o.proto
	through := len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p engine.PortRange) bool { return p.First <= port && port <= p.Last })
	return place && spoken && through
}

// drawDestination takes what stands at the edges of an area, in one of the forms in which it may be written.
func drawDestination(t *rapid.T) netip.Addr {
	bases := []string{"10.1.2.3", "192.0.2.1", "198.51.100.7", "198.51.100.7", "2001:db8::1", "2001:db8::7", "127.0.0.1", "127.9.9.9", "::1"}
	areas := append(slices.Concat(neverAreas, closedAreas), "10.0.0.0/8", "2001:db8::/32")
	a := netip.MustParseAddr(rapid.SampledFrom(bases).Draw(t, "base"))
	if rapid.Bool().Draw(t, "at an edge") {
		a = atEdge(t, netip.MustParsePrefix(rapid.SampledFrom(areas).Draw(t, "area")))
	}
	switch {
	case a.Is4() && rapid.Bool().Draw(t, "in IPv6"):
		b := a.As16()
		if rapid.Bool().Draw(t, "NAT64") {
			copy(b[:], netip.MustParseAddr("64:ff9b::").AsSlice()[:12])
		}
		a = netip.AddrFrom16(b)
	case a.Is6() && rapid.Bool().Draw(t, "in a zone"):
		a = a.WithZone("eth0")
	}
	return a
}

// atEdge is the first or the last address of an area, or the one beside it, where there is one.
func atEdge(t *rapid.T, p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	first, _ := netip.AddrFromSlice(b)
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	a := rapid.SampledFrom([]netip.Addr{first, last, first.Prev(), last.Next()}).Draw(t, "edge")
	if !a.IsValid() {
		return first
	}
	return a
}

func TestDecideIsTheOracle(t *testing.T) {
	places := slices.Concat(neverAreas, closedAreas, []string{
		"any", "0.0.0.0/0", "::/0", "126.0.0.0/7", "127.0.0.0/9", "127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::/9", "fe80::1", "::/127", "10.0.0.0/8",
		"10.1.2.3", "198.51.100.7", "192.0.2.0/24", "2001:db8::/32", "64:ff9b::/96",
	})
	seen := make(map[engine.Refusal]int)
	rapid.Check(t, func(t *rapid.T) {
		some := func(label string, most int) []engine.AccessRule {
			return accessRules(t, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
				return rapid.SampledFrom(places).Draw(t, "place") + rapid.SampledFrom([]string{"", "", " any", " icmp", " tcp", " udp", " tcp 80,8000-8080", " udp 53"}).Draw(t, "what")
			}), 0, most).Draw(t, label)...)
		}
		key := wgtypes.Key{1}
		o := oracle{peer: key}
		o.policy = engine.AccessPolicy{
			Node:          engine.Access{Allow: some("allow", 3), Deny: some("deny", 1)},
			Peers:         map[wgtypes.Key]engine.Access{{2}: {Allow: some("another's allow", 1), Deny: some("another's deny", 1)}},
			HostAddresses: []netip.Addr{netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8::7")},
			OwnPorts:      []uint16{8080},
		}
		if rapid.Bool().Draw(t, "the peer has lists") {
			o.policy.Peers[key] = engine.Access{Allow: some("peer allow", 3), Deny: some("peer deny", 1)}
		}
		for range 100 {
			o.proto = rapid.SampledFrom([]engine.Protocol{engine.ProtocolTCP, engine.ProtocolTCP, engine.ProtocolUDP, engine.ProtocolICMP, 47}).Draw(t, "protocol")
			to := netip.AddrPortFrom(drawDestination(t), rapid.SampledFrom([]uint16{0, 53, 80, 443, 8080, 8080, 8080}).Draw(t, "port"))
			want := o.decide(to)
			require.Equal(t, want, o.policy.Decide(key, o.proto, to), "%s %s", o.proto, to)
			seen[want]++
		}
	})
	for _, why := range []engine.Refusal{"", engine.RefusedDenied, engine.RefusedNotListed, engine.RefusedProtected, engine.RefusedOwnPort} {
		require.NotZero(t, seen[why], "%q was never the answer: the draws are too narrow", why)
	}
}
