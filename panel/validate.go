package panel

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wgfleet/wgfleet/engine"
)

// Limits that keep a record well below what the store takes.
const (
	maxName       = 128  // characters of a name
	maxURL        = 2048 // bytes
	maxAllowedIPs = 4096 // prefixes of one list
	maxDNS        = 64   // servers and domains
)

// problems collects refused fields.
type problems struct {
	list []FieldProblem
}

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, FieldProblem{Field: field, Error: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &InvalidError{Problems: p.list}
}

// name returns a name without spaces around it.
func (p *problems) name(field, s string) string {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		p.add(field, "must not be empty")
	case utf8.RuneCountInString(s) > maxName:
		p.add(field, "is too long: %d characters at most", maxName)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		p.add(field, "holds characters that can't be printed")
	case s == "." || s == ".." || strings.ContainsAny(s, `/\`):
		p.add(field, "must not hold / or \\, nor be . or ..: it becomes a part of paths")
	}
	return s
}

// sentence returns text for people without spaces around it, which may be empty.
func (p *problems) sentence(field, s string, most int) string {
	s = strings.TrimSpace(s)
	switch {
	case utf8.RuneCountInString(s) > most:
		p.add(field, "is too long: %d characters at most", most)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		p.add(field, "holds characters that can't be printed")
	}
	return s
}

func (p *problems) agentURL(field, s string) string {
	s = strings.TrimSpace(s)
	if len(s) > maxURL {
		p.add(field, "is too long: %d bytes at most", maxURL)
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		p.add(field, "expected an http or https address with a host, for example http://10.0.0.5:8080")
		return s
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(s, "|") {
		p.add(field, "must not hold a user, a query, a fragment or a |")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			p.add(field, "port %s is out of range: expected 1 to 65535", port)
		}
	}
	return strings.TrimRight(s, "/")
}

// endpoint accepts "", host and host:port.
func (p *problems) endpoint(field, s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return s
	}
	if len(s) > maxURL {
		p.add(field, "is too long: %d bytes at most", maxURL)
		return ""
	}
	host, port := splitEndpoint(s)
	if port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			p.add(field, "port %q is out of range: expected 1 to 65535", port)
		}
	}
	if _, err := netip.ParseAddr(host); err != nil && !isDomain(host) {
		p.add(field, "%q is not a host or host:port, for example vpn.example.com or 203.0.113.7:51820", clip(s))
	}
	return s
}

// splitEndpoint splits host and port; port is "" where there is none. An IPv6 address may stand
// with or without brackets.
func splitEndpoint(s string) (host, port string) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return a.String(), ""
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return s, ""
}

func isDomain(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
			}) {
			return false
		}
	}
	return true
}

func clip(s string) string { return clipTo(s, 60) }

// clipTo keeps so many bytes of a text.
func clipTo(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func (p *problems) between(field string, v, low, high int, unit string) {
	if v < low || v > high {
		p.add(field, "%d is out of range: expected %d to %d%s", v, low, high, unit)
	}
}

// atMost bounds the length of a list.
func (p *problems) atMost(field string, n, limit int) bool {
	if n > limit {
		p.add(field, "has %d entries: %d at most", n, limit)
	}
	return n <= limit
}

func (p *problems) mtu(field string, v int, ipv6 bool) {
	low := engine.MinMTU
	if ipv6 {
		low = engine.MinMTU6
	}
	p.between(field, v, low, engine.MaxMTU, " bytes")
}

// dns returns a comma list of addresses and search domains in one spelling.
func (p *problems) dns(field, s string) string {
	parts := commaList(s)
	if len(parts) == 0 {
		return ""
	}
	if !p.atMost(field, len(parts), maxDNS) {
		return ""
	}
	for i, part := range parts {
		if a, err := netip.ParseAddr(part); err == nil && a.Zone() == "" {
			parts[i] = a.String()
		} else if !isDomain(part) || looksLikeAddress(part) {
			p.add(field, "%q is neither an address nor a search domain", clip(part))
			return s
		}
	}
	return strings.Join(parts, ", ")
}

// looksLikeAddress finds 8.8.8 and 999.1.1.1, which are domains by the letter alone.
func looksLikeAddress(s string) bool { return strings.Trim(s, "0123456789.") == "" }

func commaList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// prefixes returns a comma list of prefixes in one spelling, in the given order.
func (p *problems) prefixes(field, s string) string {
	parts := commaList(s)
	if len(parts) == 0 {
		p.add(field, "must name at least one prefix")
	}
	if !p.atMost(field, len(parts), maxAllowedIPs) {
		return ""
	}
	for i, part := range parts {
		ip, err := engine.ParsePrefix(part)
		if err != nil {
			p.add(field, "%v", err)
			return s
		}
		parts[i] = ip.String()
	}
	return strings.Join(parts, ", ")
}

// pools reads a comma list of an IPv4 and an IPv6 prefix at most.
func (p *problems) pools(field, s string) []netip.Prefix {
	var out []netip.Prefix
	for _, part := range commaList(s) {
		ip, err := netip.ParsePrefix(part)
		if err != nil || ip.Addr().Is4In6() {
			p.add(field, "%q is not a pool: expected for example 10.8.0.0/24 or fd00:8::/64", clip(part))
			return nil
		}
		for _, other := range out {
			if other.Addr().Is4() == ip.Addr().Is4() {
				p.add(field, "names two pools of one family: an IPv4 and an IPv6 one are possible")
				return nil
			}
		}
		out = append(out, ip.Masked())
	}
	return out
}

// allowedIPs reads a peer's list.
func (p *problems) allowedIPs(field string, list []string) []netip.Prefix {
	if !p.atMost(field, len(list), maxAllowedIPs) {
		return nil
	}
	out := make([]netip.Prefix, 0, len(list))
	for _, text := range list {
		ip, err := engine.ParsePrefix(text)
		if err != nil {
			p.add(field, "%v", err)
			return nil
		}
		out = append(out, ip)
	}
	return engine.NormalizePrefixes(out)
}

func hasIPv6(ips []netip.Prefix) bool {
	for _, ip := range ips {
		if ip.Addr().Is6() {
			return true
		}
	}
	return false
}
