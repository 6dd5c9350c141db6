package drift

import (
	"net/netip"
	"path"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Origins of an unknown peer.
const (
	Orphaned = "orphaned" // the panel had it on this node, and wants it there no more
	Foreign  = "foreign"  // the panel has no record of it
)

// Why a Former is not wanted any more.
const (
	Deleted  = "deleted"
	Disabled = "disabled" // the panel has it still
	Expired  = "expired"  // the panel has it still
)

// Former is a peer that the panel once wanted on the node.
type Former struct {
	PeerID string
	Name   string
	Why    string // Deleted, Disabled or Expired
	At     time.Time
	// RolledBack: nobody took this peer away by name. It left with all else that a rollback undid.
	RolledBack bool
}

// held reports whether the panel has the peer's record still.
func (f Former) held() bool { return f.Why == Disabled || f.Why == Expired }

// Actions of a Rule.
const (
	Ignore  = "ignore"  // the peer is no drift: it is counted, shown and left alone
	Protect = "protect" // the peer is drift, and is never removed
)

// Rule says what is done about some unknown peers. One of PublicKey, Prefix and Name is given.
type Rule struct {
	ID        string
	Action    string // Ignore or Protect
	PublicKey *wgtypes.Key
	Prefix    *netip.Prefix // all of the peer's allowed IPs lie within it, and it has one
	Name      string        // of a Former; a pattern of path.Match
	Until     time.Time     // zero: no end
	Reason    string
}

// InForce reports whether the rule holds at that time.
func (r Rule) InForce(now time.Time) bool { return r.Until.IsZero() || now.Before(r.Until) }

// matches reports whether the rule is about the peer; name is "" for a foreign one.
func (r Rule) matches(p Peer, name string) bool {
	switch {
	case r.PublicKey != nil:
		return *r.PublicKey == p.PublicKey
	case r.Prefix != nil:
		outside := func(ip netip.Prefix) bool { return ip.Bits() < r.Prefix.Bits() || !r.Prefix.Contains(ip.Addr()) }
		return len(p.AllowedIPs) > 0 && !slices.ContainsFunc(p.AllowedIPs, outside)
	case r.Name != "" && name != "":
		ok, err := path.Match(r.Name, name)
		return ok && err == nil
	}
	return false
}

// standing is what the panel knows of a peer that it does not want on the node.
type standing struct {
	origin string
	former Former // of an orphaned one
	ignore *Rule  // nil: not ignored
	shield *Rule  // nil: not protected
}

func (d Desired) standing(p Peer) standing {
	s := standing{origin: Foreign}
	if f, ok := d.Former[p.PublicKey]; ok {
		s.origin, s.former = Orphaned, f
	}
	for i, r := range d.Rules {
		switch {
		case !r.matches(p, s.former.Name):
		case r.Action == Ignore && s.ignore == nil:
			s.ignore = &d.Rules[i]
		case r.Action == Protect && s.shield == nil:
			s.shield = &d.Rules[i]
		}
	}
	return s
}

// unknown is how the peer stands in a report.
func (s standing) unknown(p Peer) UnknownPeer {
	u := UnknownPeer{
		PublicKey: p.PublicKey.String(), AllowedIPs: Texts(p.AllowedIPs), PersistentKeepalive: p.Keepalive,
		Origin: s.origin, Name: s.former.Name, Why: s.former.Why,
	}
	if s.shield != nil {
		u.Protected, u.Reason = true, s.shield.Reason
	}
	return u
}
