package engine

import (
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Protocol is what a flow speaks, by its IANA number; ICMP stands for ICMPv6 as well.
type Protocol uint8

// The protocols that a gateway carries.
const (
	ProtocolAny  Protocol = 0
	ProtocolICMP Protocol = 1
	ProtocolTCP  Protocol = 6
	ProtocolUDP  Protocol = 17
)

// Access is where a peer may go through a gateway, and how much of it. See AccessPolicy.Decide.
type Access struct {
	Allow  []AccessRule
	Deny   []AccessRule
	Limits Limits
}

// IsZero reports whether it says nothing.
func (a Access) IsZero() bool {
	return len(a.Allow) == 0 && len(a.Deny) == 0 && a.Limits == Limits{}
}

// Limits bound what a peer may ask of a gateway. 0 says nothing, NoLimit says that there is none.
type Limits struct {
	Connections int   // flows at the same time
	Rate        int   // new flows a second
	Bandwidth   int64 // bytes a second, both directions together
}

// NoLimit is a limit that is none.
const NoLimit = -1

// Or takes from o what l says nothing of.
func (l Limits) Or(o Limits) Limits {
	if l.Connections == 0 {
		l.Connections = o.Connections
	}
	if l.Rate == 0 {
		l.Rate = o.Rate
	}
	if l.Bandwidth == 0 {
		l.Bandwidth = o.Bandwidth
	}
	return l
}

// AccessPolicy is what the peers of an interface may reach through a gateway. It is plain data.
type AccessPolicy struct {
	Node  Access // of every peer
	Peers map[wgtypes.Key]Access
	// HostAddresses are this host's, OwnPorts where its agent and panel listen there.
	HostAddresses []netip.Addr
	OwnPorts      []uint16
}

// Refusal is the reason why a packet or a flow was not carried, as it stands in metrics; "" where it was.
type Refusal string

// The reasons for which a destination is refused.
const (
	RefusedDenied    Refusal = "denied"     // a deny list names it
	RefusedNotListed Refusal = "not_listed" // the allow list does not
	RefusedProtected Refusal = "protected"  // loopback, link-local, metadata and the like: no allow list names it
	RefusedOwnPort   Refusal = "own_port"   // the agent's or the panel's, and no allow list names it
)

var (
	// unreachable is no destination of one host. The unspecified addresses would reach loopback.
	unreachable = prefixList("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")
	// protected is what a host reaches and a peer does not, unless a rule names it: loopback (RFC 1122, RFC 4291), link-local
	// (RFC 3927, RFC 4291), and where clouds answer their machines and nobody else.
	protected = prefixList("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10",
		"168.63.129.16/32",   // Azure
		"100.100.100.200/32", // Alibaba
		"192.0.0.192/32",     // Oracle
		"fd00:ec2::254/128",  // AWS
		"fd20:ce::254/128",   // Google
	)
	// nat64 holds IPv4 addresses in its last 32 bits (RFC 6052).
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixList(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Decide says why a peer may not reach a destination: "" where it may. The port counts with TCP and UDP alone.
//
// What a deny list of the peer or the node names is denied. The peer's allow list, where it has one, stands in for
// the node's; what the list in force does not name is refused, and without a list all is allowed. All but what is protected: that
// only a rule opens that lies within it, such as 127.0.0.0/8 or 127.0.0.1 tcp 5432, and an own port of this host only a rule
// that names the port. Multicast, broadcast and unspecified addresses are never reached. An IPv4 address inside an IPv6
// one (mapped, or RFC 6052's) is judged as both, and a zone counts for nothing.
func (p *AccessPolicy) Decide(peer wgtypes.Key, proto Protocol, to netip.AddrPort) Refusal {
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port()) // no prefix contains an address with a zone
	if inner := inNAT64(to.Addr()); inner.IsValid() {
		if why := p.decide(peer, proto, netip.AddrPortFrom(inner, to.Port())); why != "" {
			return why
		}
	}
	return p.decide(peer, proto, to)
}

func inNAT64(a netip.Addr) netip.Addr {
	if !nat64.Contains(a) {
		return netip.Addr{}
	}
	b := a.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

func (p *AccessPolicy) decide(peer wgtypes.Key, proto Protocol, to netip.AddrPort) Refusal {
	own := p.Peers[peer]
	if covers(own.Deny, proto, to) || covers(p.Node.Deny, proto, to) {
		return RefusedDenied
	}
	if _, never := within(unreachable, to.Addr()); never {
		return RefusedProtected
	}
	list := own.Allow
	if len(list) == 0 {
		list = p.Node.Allow
	}
	if area, closed := within(protected, to.Addr()); closed && !opens(list, proto, to, area) {
		return RefusedProtected
	}
	if p.isOwnPort(proto, to) && !namesPort(list, proto, to) {
		return RefusedOwnPort
	}
	if len(list) > 0 && !covers(list, proto, to) {
		return RefusedNotListed
	}
	return ""
}

func within(areas []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	for _, area := range areas {
		if area.Contains(a) {
			return area, true
		}
	}
	return netip.Prefix{}, false
}

func covers(rules []AccessRule, proto Protocol, to netip.AddrPort) bool {
	for i := range rules {
		if rules[i].Covers(proto, to) {
			return true
		}
	}
	return false
}

// opens reports whether a rule that lies within a protected area covers the destination.
func opens(rules []AccessRule, proto Protocol, to netip.AddrPort, area netip.Prefix) bool {
	for i := range rules {
		r := &rules[i]
		if r.Prefix.IsValid() && r.Prefix.Bits() >= area.Bits() && area.Contains(r.Prefix.Addr()) && r.Covers(proto, to) {
			return true
		}
	}
	return false
}

func namesPort(rules []AccessRule, proto Protocol, to netip.AddrPort) bool {
	for i := range rules {
		if len(rules[i].Ports) > 0 && rules[i].Covers(proto, to) {
			return true
		}
	}
	return false
}

func (p *AccessPolicy) isOwnPort(proto Protocol, to netip.AddrPort) bool {
	if proto != ProtocolTCP {
		return false
	}
	for _, port := range p.OwnPorts {
		if port != to.Port() {
			continue
		}
		if to.Addr().IsLoopback() {
			return true
		}
		for _, a := range p.HostAddresses {
			if a == to.Addr() {
				return true
			}
		}
	}
	return false
}
