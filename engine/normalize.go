package engine

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// ParseKey reads a public key as wg(8) does: exactly 44 characters of canonical base64.
func ParseKey(s string) (wgtypes.Key, error) {
	var k wgtypes.Key
	if len(s) != 44 {
		return k, errors.New("not a WireGuard key: expected 44 characters of base64")
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != wgtypes.KeyLen {
		return k, errors.New("not a WireGuard key: expected base64 that holds 32 bytes")
	}
	return wgtypes.Key(b), nil
}

// ParsePrefix reads one allowed IP as wg(8) does: an address without a mask is a host, host bits
// are cleared, an IPv4 address mapped into IPv6 is IPv4.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := ParseAddress(s)
	if err != nil {
		return p, err
	}
	return p.Masked(), nil
}

// ParseAddress reads an interface address: as ParsePrefix, but the host bits stay.
func ParseAddress(s string) (netip.Prefix, error) {
	s = strings.TrimSpace(s)
	wrong := fmt.Errorf("%q is not an address with a prefix length: expected for example 10.8.0.2/32 or fd00::2/128", s)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, wrong
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, wrong
	}
	return unmap(p)
}

func unmap(p netip.Prefix) (netip.Prefix, error) {
	if !p.Addr().Is4In6() {
		return p, nil
	}
	if p.Bits() < 96 {
		return netip.Prefix{}, fmt.Errorf("%q mixes IPv4 and IPv6: expected one of them", p)
	}
	return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96), nil
}

// NormalizePrefixes returns the set of prefixes: masked, without repeats, sorted as strings, as the
// digest wants them. The argument is not changed; the answer is never nil.
func NormalizePrefixes(in []netip.Prefix) []netip.Prefix {
	if normalPrefixes(in) {
		return in
	}
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if u, err := unmap(p); err == nil {
			p = u
		}
		out = append(out, p.Masked())
	}
	return sortPrefixes(out)
}

// normalPrefixes finds the common case, one masked prefix, without allocating.
func normalPrefixes(in []netip.Prefix) bool {
	return len(in) == 1 && in[0] == in[0].Masked() && !in[0].Addr().Is4In6()
}

// NormalizeAddresses is NormalizePrefixes with the host bits kept.
func NormalizeAddresses(in []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if u, err := unmap(p); err == nil {
			p = u
		}
		out = append(out, p)
	}
	return sortPrefixes(out)
}

func sortPrefixes(out []netip.Prefix) []netip.Prefix {
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		var x, y [64]byte // longer than any prefix: no allocation
		return bytes.Compare(a.AppendTo(x[:0]), b.AppendTo(y[:0]))
	})
	return slices.Compact(out)
}

// Normalize returns s with peers sorted by key, every prefix set in canonical form and the private
// key clamped, as a device reads it back. The argument is not changed. It does not judge: that is
// Validate's.
func Normalize(s State) State {
	s.Interface.PrivateKey = s.Interface.PrivateKey.Clamped()
	s.Interface.Addresses = NormalizeAddresses(s.Interface.Addresses)
	s.Peers = NormalizePeers(s.Peers)
	return s
}

// NormalizePeers returns the peers sorted by key bytes, each in canonical form.
func NormalizePeers(in []Peer) []Peer {
	out := make([]Peer, len(in))
	for i, p := range in {
		p.AllowedIPs = NormalizePrefixes(p.AllowedIPs)
		out[i] = p
	}
	slices.SortStableFunc(out, func(a, b Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) })
	return out
}

func searchPeer(peers []Peer, key wgtypes.Key) (int, bool) {
	return slices.BinarySearchFunc(peers, key, func(p Peer, k wgtypes.Key) int {
		return bytes.Compare(p.PublicKey[:], k[:])
	})
}
