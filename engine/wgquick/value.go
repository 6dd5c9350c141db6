package wgquick

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// What the values of the keys must look like, for errors.
const (
	wantPort      = "a port number from 0 to 65535"
	wantFwMark    = "off or a number from 0 to 0xffffffff"
	wantMTU       = "a number of bytes from 1 to 65535"
	wantKeepalive = "off or a number of seconds from 0 to 65535"
	wantKey       = "a key of 32 bytes in base64, 44 characters"
	wantAllowedIP = "addresses with a prefix length, separated by commas, such as 10.8.0.2/32, fd00::2/128"
	wantAddress   = "an address with a prefix length, such as 10.8.0.1/24"
	wantDNS       = "addresses of name servers or search domains"
	wantTable     = "off, auto, or the number or name of a routing table"
	wantBool      = "true or false"
	wantEndpoint  = "host:port or [IPv6 address]:port"
)

// number reads a plain decimal number: no sign, no underscore, no prefix.
func number(s string, largest uint64, what string) (uint64, *ParseError) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, want(what, s)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > largest {
		return 0, want(what, s)
	}
	return n, nil
}

func parsePort(s string) (int, *ParseError) {
	n, err := number(s, 65535, wantPort)
	return int(n), err
}

func parseMTU(s string) (int, *ParseError) {
	n, err := number(s, engine.MaxMTU, wantMTU)
	if err == nil && n == 0 {
		err = want(wantMTU, s)
	}
	return int(n), err
}

func parseKeepalive(s string) (int, *ParseError) {
	if fold(s) == "off" {
		return 0, nil
	}
	n, err := number(s, engine.MaxKeepalive, wantKeepalive)
	return int(n), err
}

func parseFwMark(s string) (uint32, *ParseError) {
	if fold(s) == "off" {
		return 0, nil
	}
	if digits, ok := strings.CutPrefix(s, "0x"); ok {
		n, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			return 0, want(wantFwMark, s)
		}
		return uint32(n), nil
	}
	n, err := number(s, 1<<32-1, wantFwMark)
	return uint32(n), err
}

func parseBool(s string) (bool, *ParseError) {
	switch fold(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, want(wantBool, s)
}

// parseTable takes what iproute2 can look up: a number, or a name of rt_tables.
func parseTable(s string) (string, *ParseError) {
	for i := range len(s) {
		c := lower(s[i])
		if c != '_' && c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return "", want(wantTable, s)
		}
	}
	if strings.HasPrefix(s, "-") {
		return "", want(wantTable, s)
	}
	return s, nil
}

func parseSecret(s string) (engine.SecretKey, *ParseError) {
	key, err := engine.ParseSecretKey(s)
	if err != nil {
		return key, want(wantKey, "")
	}
	return key, nil
}

func parsePublicKey(s string) (wgtypes.Key, *ParseError) {
	key, err := engine.ParseKey(s)
	if err != nil {
		return key, want(wantKey, "")
	}
	return key, nil
}

// allowedIP is one entry of a line: what it means and how it is spelled.
type allowedIP struct {
	prefix netip.Prefix
	text   string
}

// parseAllowedIPs reads the value of one line. An empty one is refused, as by wg(8): a peer without
// allowed IPs has no such line.
func parseAllowedIPs(s string) ([]allowedIP, *ParseError) {
	ips := make([]allowedIP, 0, 1+strings.Count(s, ","))
	for text := range strings.SplitSeq(s, ",") {
		prefix, err := engine.ParsePrefix(text)
		if err != nil || spaced(text) {
			return nil, want(wantAllowedIP, text)
		}
		ips = append(ips, allowedIP{prefix: prefix, text: text})
	}
	return ips, nil
}

// spaced finds the white space of Unicode, which the engine forgives and the tools do not.
func spaced(s string) bool { return strings.TrimSpace(s) != s }

// words splits a list of wg-quick(8), which takes commas and white space alike.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		return r == ',' || r < 0x80 && isSpace(byte(r))
	})
}

func parseAddress(s string) (netip.Prefix, *ParseError) {
	prefix, err := engine.ParseAddress(s)
	if err != nil || spaced(s) {
		return prefix, want(wantAddress, s)
	}
	return prefix, nil
}

// parseDNS tells name servers from search domains as wg-quick(8) does: digits and dots, or a colon,
// make an address. Exactly one of the results is set.
func parseDNS(s string) (netip.Addr, string, *ParseError) {
	if strings.Contains(s, ":") || strings.Trim(s, "0123456789.") == "" {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return addr, "", want(wantDNS, s)
		}
		return addr, "", nil
	}
	if len(s) > 253 || !hostName(s) || s[0] == '-' {
		return netip.Addr{}, "", want(wantDNS, s)
	}
	return netip.Addr{}, s, nil
}

// parseEndpoint returns the endpoint as net.SplitHostPort takes it. The host is not looked up.
func parseEndpoint(s string) (string, *ParseError) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return "", want(wantEndpoint, s)
	}
	host, port := s[:i], s[i+1:]
	if n, err := number(port, 65535, wantEndpoint); err != nil || n == 0 {
		return "", want(wantEndpoint, s)
	}
	inner, bracket := strings.CutPrefix(host, "[")
	if bracket {
		inner, bracket = strings.CutSuffix(inner, "]")
		if !bracket {
			return "", want(wantEndpoint, s)
		}
	}
	if bracket || strings.Contains(inner, ":") {
		if addr, err := netip.ParseAddr(inner); err != nil || !addr.Is6() {
			return "", want(wantEndpoint, s)
		}
		return net.JoinHostPort(inner, port), nil
	}
	if len(inner) > 253 || !hostName(inner) || inner[0] == '-' {
		return "", want(wantEndpoint, s)
	}
	return s, nil
}

func hostName(s string) bool {
	for i := range len(s) {
		c := lower(s[i])
		if c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}
