package drift

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Ops of a Step, in the order in which they are done.
const (
	OpRemove = "remove"
	OpUpdate = "update"
	OpAdd    = "add"
	OpAdopt  = "adopt" // into the panel; the node is not written to
)

// Options say how far a plan may go.
type Options struct {
	Missing       bool // add missing peers
	Mismatched    bool // update mismatched ones
	RemoveUnknown bool
	AdoptUnknown  bool
	// Others are peers that somebody else answers for, and who that is: nothing is taken from them.
	Others map[wgtypes.Key]string
}

// Plan is the way from observed to desired.
type Plan struct {
	Steps    []Step    // never nil; removals, updates, additions, adoptions, each by key
	Blocked  []Blocked // what can't be done under the options, and why
	Warnings []string  // what a person should know before saying yes

	kept map[wgtypes.Key][]netip.Prefix // allowed IPs of unknown peers that stay
}

// Step is one change of one peer.
type Step struct {
	Op        string
	PublicKey string
	Name      string // "" for unknown peers
	PeerID    string
	Before    *Peer // nil: it is not on the node
	After     *Peer // nil: it will not be
	Changes   []Mismatch
	Takes     []Take
	Reason    string // one sentence
	Impact    string // what the peer will notice

	psk  engine.SecretKey
	need map[wgtypes.Key]bool // peers whose step must be done together with this one
}

// Take is an allowed IP that leaves a peer that the panel does not know.
type Take struct {
	Prefix netip.Prefix
	From   string // public key
}

// Blocked is a peer that can't be put right under the options.
type Blocked struct {
	Op        string
	PublicKey string
	Reason    string
}

// NewPlan decides what to do. It never moves an allowed IP without saying whose it is.
func NewPlan(d Desired, o Observed, opt Options) Plan {
	b := builder{opt: opt, known: make(map[wgtypes.Key]bool), steps: make(map[wgtypes.Key]*Step), holders: make(map[netip.Prefix]wgtypes.Key)}
	for want, have := range merge(d.Peers, o.Peers) {
		if have != nil {
			for _, ip := range have.AllowedIPs {
				b.holders[ip] = have.PublicKey
			}
		}
		b.consider(want, have)
	}
	b.settle()
	plan := Plan{Steps: make([]Step, 0, len(b.order)), Blocked: b.blocked, Warnings: b.warnings, kept: make(map[wgtypes.Key][]netip.Prefix)}
	for _, have := range o.Peers {
		if !b.known[have.PublicKey] {
			plan.kept[have.PublicKey] = have.AllowedIPs
		}
	}
	for _, op := range []string{OpRemove, OpUpdate, OpAdd, OpAdopt} {
		for _, key := range b.order {
			if s, ok := b.steps[key]; ok && s.Op == op {
				plan.Steps = append(plan.Steps, *s)
			}
		}
	}
	return plan
}

type builder struct {
	opt      Options
	known    map[wgtypes.Key]bool
	steps    map[wgtypes.Key]*Step
	order    []wgtypes.Key // of steps, by key
	holders  map[netip.Prefix]wgtypes.Key
	blocked  []Blocked
	warnings []string
}

func (b *builder) add(key wgtypes.Key, s Step) {
	s.PublicKey = key.String()
	b.steps[key] = &s
	b.order = append(b.order, key)
}

func (b *builder) consider(want *DesiredPeer, have *Peer) {
	switch {
	case want == nil && b.opt.AdoptUnknown:
		b.add(have.PublicKey, Step{
			Op: OpAdopt, Before: have, After: have,
			Reason: "it is on the node and the panel does not know it", Impact: "none: nothing changes on the node",
		})
	case want == nil && b.opt.RemoveUnknown:
		b.add(have.PublicKey, Step{
			Op: OpRemove, Before: have,
			Reason: "the panel does not know it", Impact: "the peer is cut off at once",
		})
	case want == nil:
	case have == nil:
		b.known[want.PublicKey] = true
		if b.opt.Missing {
			b.add(want.PublicKey, Step{
				Op: OpAdd, Name: want.Name, PeerID: want.ID, After: &want.Peer, psk: want.PSK,
				Reason: "the panel has it and the node does not", Impact: "the peer can connect",
			})
		}
	default:
		b.known[want.PublicKey] = true
		if m := comparePeer(want.Peer, *have); len(m) > 0 && b.opt.Mismatched {
			b.add(want.PublicKey, Step{
				Op: OpUpdate, Name: want.Name, PeerID: want.ID, Before: have, After: &want.Peer, psk: want.PSK, Changes: m,
				Reason: "it differs in " + fields(m), Impact: impact(m),
			})
		}
	}
}

func fields(m []Mismatch) string {
	names := make([]string, len(m))
	for i, x := range m {
		names[i] = x.Field
	}
	return strings.Join(names, ", ")
}

func impact(m []Mismatch) string {
	switch {
	case slices.ContainsFunc(m, func(x Mismatch) bool { return x.Field == FieldPresharedKey }):
		return "the peer connects only with the panel's preshared key"
	case slices.ContainsFunc(m, func(x Mismatch) bool { return x.Field == FieldAllowedIPs }):
		return "traffic of the addresses that change; the session stays"
	}
	return "none: the session stays"
}

// settle finds out from whom each wanted prefix must come.
func (b *builder) settle() {
	for again := true; again; { // a step that is dropped may leave another one without its prefix
		again = false
		for _, key := range b.order {
			s := b.steps[key]
			if s == nil || s.After == nil || s.Op == OpAdopt {
				continue
			}
			if why := b.prefixes(key, s); why != "" {
				b.blocked = append(b.blocked, Blocked{Op: s.Op, PublicKey: s.PublicKey, Reason: why})
				delete(b.steps, key)
				again = true
			}
		}
	}
	for _, key := range b.order {
		if s := b.steps[key]; s != nil {
			for _, t := range s.Takes {
				b.warnings = append(b.warnings, fmt.Sprintf("%s is taken from peer %s, which the panel does not know, and given to %s", t.Prefix, t.From, s.PublicKey))
			}
		}
	}
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
		case b.known[holder] && other == nil:
			return fmt.Sprintf("allowed IP %s is still on peer %s, which is not put right by this plan", ip, holder)
		case !b.known[holder] && b.opt.Others[holder] != "":
			return fmt.Sprintf("allowed IP %s is on peer %s, which belongs to %s", ip, holder, b.opt.Others[holder])
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

func (s *Step) require(key wgtypes.Key) {
	if s.need == nil {
		s.need = make(map[wgtypes.Key]bool)
	}
	s.need[key] = true
}
