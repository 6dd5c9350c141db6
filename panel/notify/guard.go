package notify

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Allow makes exceptions from what may not be connected to. The zero value makes none.
type Allow struct {
	prefixes []netip.Prefix
	hosts    []string
}

// ParseAllow reads addresses, prefixes and host names. A host name allows whatever address it has.
func ParseAllow(list []string) (Allow, error) {
	var a Allow
	for _, text := range list {
		if ip, err := netip.ParseAddr(text); err == nil {
			ip = ip.Unmap()
			a.prefixes = append(a.prefixes, netip.PrefixFrom(ip, ip.BitLen()))
		} else if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().Is4In6() {
			a.prefixes = append(a.prefixes, p.Masked())
		} else if isDomain(text) {
			a.hosts = append(a.hosts, hostKey(text))
		} else {
			return Allow{}, fmt.Errorf("%q is not an address, a prefix like 10.0.0.0/8 or a host name", clip(text, 60))
		}
	}
	return a, nil
}

func (a Allow) host(name string) bool { return slices.Contains(a.hosts, hostKey(name)) }

func (a Allow) address(ip netip.Addr) bool {
	for _, p := range a.prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// hostKey is a host name in one spelling.
func hostKey(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

// errForbidden is the kind of a refused receiver.
var errForbidden = errors.New("not allowed")

// guard decides which receivers may be connected to.
type guard struct {
	allow  Allow
	agents agents
}

// agents are where the agents answer.
type agents struct {
	hosts     map[string]bool     // names
	addresses map[netip.Addr]bool // of the names as well, where they were looked up
}

// checkHost judges a host before its name is looked up.
func (g guard) checkHost(host string) error {
	if g.allow.host(host) {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return g.check(host, ip)
	}
	key := hostKey(host)
	switch {
	case key == "localhost" || strings.HasSuffix(key, ".localhost"):
		return forbidden(host, "is this host itself")
	case g.agents.hosts[key]:
		return forbidden(host, "is where an agent answers")
	}
	return nil
}

// check judges the address that a host turned out to have.
func (g guard) check(host string, ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if g.allow.host(host) || g.allow.address(ip) {
		return nil
	}
	for _, one := range append([]netip.Addr{ip}, embedded(ip)...) {
		if why := special(one); why != "" {
			return forbidden(ip.String(), why)
		}
		if g.agents.addresses[one] {
			return forbidden(ip.String(), "is where an agent answers")
		}
	}
	return nil
}

func forbidden(what, why string) error {
	return refusef(errForbidden, "%s %s: notifications do not go there unless WGFLEET_NOTIFY_ALLOW names it", what, why)
}

// clouds are the addresses of services that hand secrets to who asks from within a cloud's host.
var clouds = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, Google and others
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
	netip.MustParseAddr("168.63.129.16"),   // Azure's WireServer
}

// Prefixes of RFC 6890 and its registries that are nobody's receiver, beside those that netip knows.
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved4   = netip.MustParsePrefix("240.0.0.0/4") // with the broadcast address
	localNAT64  = netip.MustParsePrefix("64:ff9b:1::/48")
	siteLocal   = netip.MustParsePrefix("fec0::/10")
)

// special says what kind of address this is that nothing is sent to; "" for an ordinary one. Private addresses are
// ordinary: receivers live there.
func special(ip netip.Addr) string {
	switch {
	case slices.Contains(clouds, ip):
		return "is a metadata service of clouds"
	case ip.IsLoopback():
		return "is a loopback address"
	case ip.IsUnspecified(), thisNetwork.Contains(ip):
		return "is no address of another host"
	case ip.IsLinkLocalUnicast(), siteLocal.Contains(ip):
		return "is a link-local address"
	case ip.IsMulticast(), ip.IsInterfaceLocalMulticast(), reserved4.Contains(ip):
		return "is no address of one host"
	case localNAT64.Contains(ip):
		return "is translated in this network alone"
	}
	return ""
}

// embedding says where an IPv6 address of a transition mechanism holds an IPv4 one.
var embedding = []struct {
	prefix netip.Prefix
	at     int
	flip   byte
}{
	{netip.MustParsePrefix("::/96"), 12, 0},           // IPv4-compatible, RFC 4291
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0}, // IPv4-translated, RFC 2765
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},    // NAT64, RFC 6052
	{netip.MustParsePrefix("2002::/16"), 2, 0},        // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), 4, 0},        // Teredo's server, RFC 4380
	{netip.MustParsePrefix("2001::/32"), 12, 0xff},    // and its client
}

// embedded returns the IPv4 addresses within an IPv6 one.
func embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	at := func(i int, flip byte) netip.Addr {
		return netip.AddrFrom4([4]byte{b[i] ^ flip, b[i+1] ^ flip, b[i+2] ^ flip, b[i+3] ^ flip})
	}
	var out []netip.Addr
	for _, e := range embedding {
		if e.prefix.Contains(ip) {
			out = append(out, at(e.at, e.flip))
		}
	}
	if b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, RFC 5214
		out = append(out, at(12, 0))
	}
	return out
}

// hostOf is the host that a channel connects to.
func (c Channel) hostOf() string {
	if c.Kind == Email {
		return c.SMTP.Host
	}
	u, err := url.Parse(string(c.URL))
	if err != nil {
		return ""
	}
	return u.Hostname()
}
