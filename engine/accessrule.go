package engine

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// AccessRule names destinations beyond the tunnel.
type AccessRule struct {
	Prefix   netip.Prefix // masked; the zero value: any address
	Protocol Protocol
	Ports    []PortRange // empty: all; only with TCP and UDP
}

// PortRange is first to last, both included.
type PortRange struct{ First, Last uint16 }

const (
	anyWord = "any"
	// wantRule is what a rule has to look like, for errors.
	wantRule = "any, an address or a prefix, then tcp, udp, icmp or any, then ports such as 80,8000-8100"
	maxPorts = 64 // in one rule
)

var protocolWords = map[string]Protocol{anyWord: ProtocolAny, "icmp": ProtocolICMP, "tcp": ProtocolTCP, "udp": ProtocolUDP}

// ParseProtocol reads any, icmp, tcp or udp.
func ParseProtocol(text string) (Protocol, error) {
	p, known := protocolWords[text]
	if !known {
		return 0, &FieldError{Field: "protocol", Reason: "expected tcp, udp, icmp or any"}
	}
	return p, nil
}

// String is the word that ParseProtocol reads, or the number of another protocol.
func (p Protocol) String() string {
	for word, known := range protocolWords {
		if p == known {
			return word
		}
	}
	return strconv.Itoa(int(p))
}

// ParseAccessRule reads what String prints: "10.0.0.0/8", "192.0.2.1 tcp 80,8000-8100", "any udp 53". A prefix is masked.
// Errors: *FieldError.
func ParseAccessRule(text string) (AccessRule, error) {
	words := strings.Fields(text)
	fail := func(word string) (AccessRule, error) {
		return AccessRule{}, &FieldError{Field: "rule", Reason: fmt.Sprintf("%.40q is not one: expected %s", word, wantRule)}
	}
	if len(words) == 0 || len(words) > 3 {
		return fail(text)
	}
	var r AccessRule
	var ok bool
	if r.Prefix, ok = parseDestination(words[0]); !ok {
		return fail(words[0])
	}
	if len(words) > 1 {
		if r.Protocol, ok = protocolWords[words[1]]; !ok {
			return fail(words[1])
		}
	}
	if len(words) > 2 {
		if r.Protocol != ProtocolTCP && r.Protocol != ProtocolUDP {
			return fail(words[2])
		}
		if r.Ports, ok = parsePorts(words[2]); !ok {
			return fail(words[2])
		}
	}
	return r, nil
}

func parseDestination(word string) (netip.Prefix, bool) {
	if word == anyWord {
		return netip.Prefix{}, true
	}
	if a, err := netip.ParseAddr(word); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(word)
	return p.Masked(), err == nil && !p.Addr().Is4In6()
}

func parsePorts(word string) ([]PortRange, bool) {
	var out []PortRange
	for part := range strings.SplitSeq(word, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, aErr := strconv.ParseUint(first, 10, 16)
		b, bErr := strconv.ParseUint(last, 10, 16)
		if aErr != nil || bErr != nil || a > b || len(out) == maxPorts {
			return nil, false
		}
		out = append(out, PortRange{uint16(a), uint16(b)})
	}
	return out, true
}

// String is what ParseAccessRule reads.
func (r AccessRule) String() string {
	text := anyWord
	switch {
	case r.Prefix.IsSingleIP():
		text = r.Prefix.Addr().String()
	case r.Prefix.IsValid():
		text = r.Prefix.String()
	}
	if r.Protocol == ProtocolAny && len(r.Ports) == 0 {
		return text
	}
	text += " " + r.Protocol.String()
	for i, p := range r.Ports {
		separator := ","
		if i == 0 {
			separator = " "
		}
		text += separator + p.String()
	}
	return text
}

// String is one port, or two with a dash between them.
func (p PortRange) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// Covers reports whether the rule names a destination. The port counts with TCP and UDP alone.
func (r *AccessRule) Covers(proto Protocol, to netip.AddrPort) bool {
	if r.Prefix.IsValid() && !r.Prefix.Contains(to.Addr()) || r.Protocol != ProtocolAny && r.Protocol != proto {
		return false
	}
	if len(r.Ports) == 0 {
		return true
	}
	for _, p := range r.Ports {
		if p.First <= to.Port() && to.Port() <= p.Last {
			return true
		}
	}
	return false
}
