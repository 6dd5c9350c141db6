package drift

import (
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// builder makes the steps of one plan.
type builder struct {
	opt      Options
	desired  Desired
	observed Observed
	known    map[wgtypes.Key]bool   // peers that the panel wants
	left     map[wgtypes.Key]string // unknown peers that nothing is taken from, and why
	steps    map[wgtypes.Key]*Step
	order    []wgtypes.Key                // of steps, by key
	settings []Step                       // of the interface
	holders  map[netip.Prefix]wgtypes.Key // on the node
	owners   map[netip.Prefix]*DesiredPeer
	blocked  []Blocked
}

func newBuilder(d Desired, o Observed, opt Options) *builder {
	b := &builder{
		opt: opt, desired: d, observed: o, known: make(map[wgtypes.Key]bool), left: make(map[wgtypes.Key]string),
		steps: make(map[wgtypes.Key]*Step), holders: make(map[netip.Prefix]wgtypes.Key), owners: make(map[netip.Prefix]*DesiredPeer),
	}
	for _, p := range o.Peers {
		for _, ip := range p.AllowedIPs {
			b.holders[ip] = p.PublicKey
		}
	}
	for i, p := range d.Peers {
		b.known[p.PublicKey] = true
		for _, ip := range p.AllowedIPs {
			b.owners[ip] = &d.Peers[i]
		}
	}
	return b
}

func (b *builder) add(key wgtypes.Key, s Step) {
	s.PublicKey = key.String()
	b.steps[key] = &s
	b.order = append(b.order, key)
}

func (b *builder) block(s *Step, why string) {
	b.blocked = append(b.blocked, Blocked{Op: s.Op, PublicKey: s.PublicKey, Reason: why})
}

func (b *builder) consider(want *DesiredPeer, have *Peer) {
	switch {
	case want == nil:
		b.considerUnknown(have)
	case have == nil:
		if b.opt.Missing {
			b.add(want.PublicKey, Step{
				Op: OpAdd, Name: want.Name, PeerID: want.ID, After: &want.Peer, psk: want.PSK,
				Reason: "the panel has it and the node does not", Impact: "the peer can connect",
			})
		}
	default:
		m := comparePeer(want.Peer, *have)
		if len(m) == 0 || !b.opt.Mismatched && !b.opt.Accept {
			return
		}
		s := Step{
			Op: OpUpdate, Name: want.Name, PeerID: want.ID, Before: have, After: &want.Peer, psk: want.PSK, Changes: m,
			Reason: "it differs in " + fields(m), Impact: b.updateImpact(*have, m),
		}
		if b.opt.Accept {
			s.Op, s.Before, s.After, s.Impact = OpAccept, &want.Peer, have, "none on the node: the panel wants from now on what is there"
		}
		b.add(want.PublicKey, s)
	}
}

// considerUnknown decides on a peer that the panel does not want.
func (b *builder) considerUnknown(have *Peer) {
	st := b.desired.standing(*have)
	f := st.former
	s := Step{Name: f.Name, PeerID: f.PeerID, Before: have}
	switch {
	case st.ignore != nil:
		b.left[have.PublicKey] = "is ignored by a rule"
	case st.shield != nil:
		b.left[have.PublicKey] = "is protected by a rule"
	}
	prune := st.origin == Foreign && b.opt.PruneForeign || st.origin == Orphaned && b.opt.PruneOrphaned
	switch {
	case st.ignore != nil:
	case prune && st.shield == nil:
		s.Op, s.Reason, s.Impact = OpRemove, "the panel does not know it", b.cutOff(*have)
		if st.origin == Orphaned {
			s.Reason = "the panel had it as " + quoted(f.Name) + ", which is " + f.Why
		}
		b.add(have.PublicKey, s)
	case b.opt.Adopt:
		s.Op, s.After, s.Reason, s.Impact = OpAdopt, have, "it is on the node and the panel does not know it", "none: nothing changes on the node"
		b.add(have.PublicKey, s)
		switch {
		case f.held():
			b.refuse(have.PublicKey, fmt.Sprintf("it is peer %s of the panel, which is %s: enable it there instead", quoted(f.Name), f.Why))
		case b.observed.Hidden[have.PublicKey]:
			b.refuse(have.PublicKey, "its preshared key is hidden: adopt it over https, or let the agent show its secrets")
		}
	}
}

// refuse takes a step back that turned out not to be possible.
func (b *builder) refuse(key wgtypes.Key, why string) {
	b.block(b.steps[key], why)
	delete(b.steps, key)
}

func quoted(name string) string { return fmt.Sprintf("%q", name) }

// considerInterface makes a step of each setting that differs.
func (b *builder) considerInterface() {
	if !b.opt.Interface {
		return
	}
	differs, _ := compareInterface(b.desired.Interface, b.observed.Interface)
	for _, m := range differs {
		s := Step{Op: OpInterface, Changes: []Mismatch{m}, Reason: "it differs", Impact: settingImpact(m)}
		switch {
		case b.opt.Accept:
			s.Op, s.Impact = OpAccept, "none on the node: the panel wants from now on what is there"
			s.Changes = []Mismatch{{m.Field, m.Actual, m.Expected}}
		case m.Field == FieldPublicKey:
			b.blocked = append(b.blocked, Blocked{
				Op: s.Op, Field: m.Field,
				Reason: "the node's interface has another key than is wished for, and the panel does not have the private key to it",
			})
			continue
		}
		b.settings = append(b.settings, s)
	}
}
