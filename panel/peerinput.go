package panel

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/ipam"
)

// AutoPresharedKey asks for a new preshared key.
const AutoPresharedKey = "auto"

// apply changes p as the input says; every refused field is named.
func (in PeerInput) apply(p *Peer, random io.Reader, now time.Time) error {
	var bad problems
	if in.Name != nil {
		p.Name = bad.name("name", *in.Name)
	}
	if err := in.keys(p, &bad, random); err != nil {
		return err
	}
	if in.AllowedIPs != nil {
		p.AllowedIPs = bad.allowedIPs("allowed_ips", *in.AllowedIPs)
	}
	if in.Keepalive.Set {
		p.Keepalive = in.Keepalive.Value
		if v := in.Keepalive.Value; v != nil {
			bad.between("persistent_keepalive", *v, 0, engine.MaxKeepalive, " seconds (0: off)")
		}
	}
	if in.DNS.Set {
		p.DNS = convert(in.DNS.Value, func(s string) string { return bad.dns("dns", s) })
	}
	if in.MTU.Set {
		p.MTU = in.MTU.Value
	}
	if p.MTU != nil && (in.MTU.Set || in.AllowedIPs != nil) {
		bad.mtu("mtu", *p.MTU, hasIPv6(p.AllowedIPs))
	}
	if in.EndpointAllowedIP.Set {
		p.EndpointAllowedIP = convert(in.EndpointAllowedIP.Value, func(s string) string {
			return bad.prefixes("endpoint_allowed_ip", s)
		})
	}
	if in.TemplateID.Set {
		p.TemplateID = first("", in.TemplateID.Value)
	}
	if in.Enabled != nil {
		p.Enabled = *in.Enabled
	}
	if in.ExpiresAt.Set {
		p.ExpiresAt = bad.expiry("expires_at", in.ExpiresAt.Value, now)
	}
	return bad.err()
}

// expiry reads a moment in the future, to the second; nil: none.
func (p *problems) expiry(field string, s *string, now time.Time) time.Time {
	if s == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(*s))
	t = t.UTC().Truncate(time.Second)
	switch {
	case err != nil:
		p.add(field, "%q is no time: expected for example 2026-12-31T00:00:00Z", clip(*s))
	case !t.After(now):
		p.add(field, "%s is past: expected a time to come, or null for no end", t.Format(time.RFC3339))
	}
	return t
}

// keys takes given keys, or makes those that are asked for.
func (in PeerInput) keys(p *Peer, bad *problems, random io.Reader) error {
	if in.PrivateKey != nil {
		private, err := engine.ParseSecretKey(*in.PrivateKey)
		if err != nil || private.IsZero() {
			bad.add("private_key", "not a WireGuard key: expected 44 characters of base64 that hold 32 bytes")
		} else {
			p.PrivateKey = private.Clamped()
			p.PublicKey = private.PublicKey()
		}
	}
	if in.PublicKey != nil {
		public, err := engine.ParseKey(*in.PublicKey)
		switch {
		case err != nil:
			bad.add("public_key", "%v", err)
		case public == wgtypes.Key{}:
			bad.add("public_key", "the all-zero key is no peer's key")
		case in.PrivateKey != nil && public != p.PublicKey:
			bad.add("public_key", "does not belong to the private key that was given with it")
		case in.PrivateKey == nil && public != p.PublicKey:
			p.PublicKey, p.PrivateKey = public, engine.SecretKey{}
		}
	}
	if !in.PresharedKey.Set {
		return nil
	}
	switch v := in.PresharedKey.Value; {
	case v == nil || *v == "":
		p.PresharedKey = engine.SecretKey{}
	case *v == AutoPresharedKey:
		k, err := randomKey(random)
		p.PresharedKey = engine.NewSecretKey(k)
		return err
	default:
		k, err := engine.ParseSecretKey(*v)
		if err != nil || k.IsZero() {
			bad.add("preshared_key", `not a WireGuard key: expected 44 characters of base64 that hold 32 bytes, or "auto"`)
		}
		p.PresharedKey = k
	}
	return nil
}

func randomKey(random io.Reader) (k wgtypes.Key, err error) {
	if _, err = io.ReadFull(random, k[:]); err != nil {
		return k, fmt.Errorf("make a key: %w", err)
	}
	return k, nil
}

// allocate gives the lowest address of each pool that is neither used, nor the node's own, nor in
// besides.
func (st *nodeState) allocate(besides []netip.Prefix) ([]netip.Prefix, error) {
	pools := st.node.pools()
	if len(pools) == 0 {
		return nil, Invalid("allowed_ips", "must be given: neither the node nor its template has an address pool (ip_pool_cidr)")
	}
	used := slices.Concat(st.used, st.node.own(), besides)
	slices.SortFunc(used, ipam.Compare)
	out := make([]netip.Prefix, 0, len(pools))
	for _, pool := range pools {
		a, err := ipam.Next(pool, slices.Values(used))
		if err != nil {
			return nil, &refusal{kind: errFull, reason: err.Error()}
		}
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return engine.NormalizePrefixes(out), nil
}

// own returns the node's own addresses as hosts.
func (n Node) own() []netip.Prefix {
	var out []netip.Prefix
	for _, pool := range n.pools() {
		out = append(out, hostOf(ipam.Own(pool)))
	}
	if n.Wish.Addresses != nil {
		for _, p := range *n.Wish.Addresses {
			out = append(out, hostOf(p))
		}
	}
	return out
}

// hostOf is the address of an interface without its network.
func hostOf(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr(), p.Addr().BitLen()) }

// judge refuses what the node would refuse or WireGuard would take silently. The same prefix on
// two peers is found by the store's index.
func (st *nodeState) judge(p Peer) error {
	if p.PublicKey.String() == st.node.publicKey() {
		return conflictf("public key %s is the node's own", p.PublicKey)
	}
	own := st.node.own()
	for _, ip := range p.AllowedIPs {
		if slices.Contains(own, ip) {
			return conflictf("%s is the node's own address", ip.Addr())
		}
	}
	return nil
}

// warnings names prefixes that hold one another: legal, and rarely meant.
func (st *nodeState) warnings(p Peer) []string {
	var out []string
	for _, ip := range p.AllowedIPs {
		for _, other := range st.nested(ip) {
			if slices.Contains(p.AllowedIPs, other) {
				continue
			}
			out = append(out, fmt.Sprintf("%s and %s of peer %s are nested: packets go to the longer prefix", ip, other, st.holder(other)))
		}
	}
	return out
}

// holder names the peer that has the prefix.
func (st *nodeState) holder(ip netip.Prefix) string {
	for _, p := range st.peers {
		if slices.Contains(p.AllowedIPs, ip) {
			return p.title()
		}
	}
	return "another peer"
}

// title names a peer in a sentence.
func (p Peer) title() string {
	if p.Name != "" {
		return fmt.Sprintf("%q (%s)", p.Name, p.PublicKey)
	}
	return p.PublicKey.String()
}

// defaultName is the name of a peer that was given none.
func defaultName(prefix string, k wgtypes.Key) string {
	return prefix + "-" + strings.NewReplacer("/", "_", "+", "-").Replace(k.String()[:8])
}
