package drift

import (
	"fmt"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// settle finds out from whom each wanted prefix must come, and which prefix the panel would want of two
// peers. A step that is refused may leave another one without its prefix.
func (b *builder) settle() {
	onNode := func(s *Step) bool { return s.Op == OpAdd || s.Op == OpUpdate }
	inPanel := func(s *Step) bool { return s.Op == OpAdopt || s.Op == OpAccept }
	for again := true; again; {
		for b.refuseWhere(onNode, b.prefixes) {
		}
		again = b.refuseWhere(inPanel, b.claims)
	}
}

// refuseWhere refuses the steps of a kind that can't be done, and reports whether there was one.
func (b *builder) refuseWhere(kind func(*Step) bool, why func(wgtypes.Key, *Step) string) (refused bool) {
	for _, key := range b.order {
		s := b.steps[key]
		if s == nil || !kind(s) {
			continue
		}
		if reason := why(key, s); reason != "" {
			b.refuse(key, reason)
			refused = true
		}
	}
	return refused
}

// prefixes fills in s.Takes and s.need, or says why s can't be done.
func (b *builder) prefixes(key wgtypes.Key, s *Step) (why string) {
	s.Takes, s.need = nil, nil
	for _, ip := range s.After.AllowedIPs {
		holder, held := b.holders[ip]
		if !held || holder == key {
			continue
		}
		other := b.steps[holder]
		switch {
		case b.known[holder] && (other == nil || other.Op == OpAccept):
			return fmt.Sprintf("allowed IP %s is still on peer %s, which is not put right by this plan", ip, holder)
		case !b.known[holder] && b.opt.Others[holder] != "":
			return fmt.Sprintf("allowed IP %s is on peer %s, which belongs to %s", ip, holder, b.opt.Others[holder])
		case !b.known[holder] && b.left[holder] != "":
			return fmt.Sprintf("allowed IP %s is on peer %s, which %s", ip, holder, b.left[holder])
		case !b.known[holder] && (other == nil || other.Op == OpAdopt):
			s.Takes = append(s.Takes, Take{Prefix: ip, From: holder.String()})
			if other != nil {
				s.require(holder)
			}
		default:
			s.require(holder)
		}
	}
	return ""
}

// claims says why the panel can't want a peer with the allowed IPs that it has on the node.
func (b *builder) claims(key wgtypes.Key, s *Step) (why string) {
	if s.Op == OpAccept && b.observed.Hidden[key] && slices.ContainsFunc(s.Changes, func(m Mismatch) bool { return m.Field == FieldPresharedKey }) {
		return "its preshared key is hidden: accept it over https, or let the agent show its secrets"
	}
	for _, ip := range s.After.AllowedIPs {
		owner := b.owners[ip]
		if owner == nil || owner.PublicKey == key {
			continue
		}
		other := b.steps[owner.PublicKey]
		takes := other != nil && slices.Contains(other.Takes, Take{Prefix: ip, From: s.PublicKey})
		gives := other != nil && other.Op == OpAccept && !slices.Contains(other.After.AllowedIPs, ip)
		if !takes && !gives {
			return fmt.Sprintf("allowed IP %s belongs to peer %s of the panel", ip, quoted(owner.Name))
		}
	}
	return ""
}

func (s *Step) require(key wgtypes.Key) {
	if s.need == nil {
		s.need = make(map[wgtypes.Key]bool)
	}
	s.need[key] = true
}
