package panel

import (
	"context"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// adoptBatch is how many peers one transaction adopts: below what the store takes without its journal.
const adoptBatch = 200

// takenOver begins the sentence of a revision that came from the node.
const takenOver = "taken over from the node"

// takeOver does the steps that change what the panel wants: unknown peers become its own as they are on
// the node, less what the steps that were done took from them, and mismatched ones become what they are
// there. The node is not written to.
func (r *reconciler) takeOver(ctx context.Context, st *nodeState, l look, done []drift.Step) {
	lost := make(map[string][]netip.Prefix)
	for _, s := range done {
		for _, t := range s.Takes {
			lost[t.From] = append(lost[t.From], t.Prefix)
		}
	}
	psks := make(map[wgtypes.Key]client.Peer, len(l.snapshot.Peers))
	for _, p := range l.snapshot.Peers {
		psks[p.PublicKey] = p
	}
	var steps []drift.Step
	var changes []peerChange
	var settings []drift.Step
	for _, s := range r.result.Plan.Steps {
		var c peerChange
		var err error
		switch {
		case s.Op == drift.OpAdopt:
			c, err = r.s.adopted(st, *s.Before, psks[s.Before.PublicKey].PresharedKey, lost[s.PublicKey])
		case s.Op == drift.OpAccept && s.PublicKey == "":
			settings = append(settings, s)
			continue
		case s.Op == drift.OpAccept:
			c, err = r.s.accepted(st, s, psks[s.After.PublicKey].PresharedKey)
		default:
			continue
		}
		if err != nil {
			r.fail(s.ID(), s.Op, reasonOf(err))
			continue
		}
		steps, changes = append(steps, s), append(changes, c)
	}
	for len(steps) > 0 {
		n := min(len(steps), adoptBatch)
		st = r.keep(ctx, st, steps[:n], changes[:n])
		steps, changes = steps[n:], changes[n:]
	}
	if len(settings) > 0 {
		r.acceptInterface(ctx, st.node.ID, settings, l.observed.Interface)
	}
}

// keep stores the changes as one revision, less those that are not possible: those stop no other.
func (r *reconciler) keep(ctx context.Context, st *nodeState, steps []drift.Step, changes []peerChange) *nodeState {
	rev, err := r.s.storePeers(ctx, st, takenOver, changes, false) // the reconciliation's event tells of it
	if err != nil && len(steps) > 1 {
		if steps, changes = r.sift(ctx, st.node.ID, steps, changes); len(steps) == 0 {
			return st
		}
		rev, err = r.s.storePeers(ctx, st, takenOver, changes, false)
	}
	if err != nil {
		for _, s := range steps {
			r.fail(s.ID(), s.Op, reasonOf(err))
		}
		return st
	}
	r.note(steps)
	return r.s.follow(st, rev.node, changes...)
}

// sift finds, by halves, which of the changes can be stored together, and fails the others.
func (r *reconciler) sift(ctx context.Context, nodeID string, steps []drift.Step, changes []peerChange) (good []drift.Step, can []peerChange) {
	var split func(from, to int)
	take := func(from, to int) {
		all := slices.Concat(can, changes[from:to])
		err := r.s.try(ctx, func(tx store.Tx) error {
			n, err := getNode(tx, nodeID)
			if err != nil {
				return err
			}
			return putPeers(tx, nodeID, &n, all, peerWrite{now: r.s.now()})
		})
		switch {
		case err == nil:
			good, can = append(good, steps[from:to]...), all
		case to-from == 1:
			r.fail(steps[from].ID(), steps[from].Op, reasonOf(err))
		default:
			split(from, to)
		}
	}
	split = func(from, to int) {
		half := (from + to) / 2
		take(from, half)
		take(half, to)
	}
	split(0, len(steps))
	return good, can
}

// adopted is a peer of the panel made of one that the node has.
func (s *Service) adopted(st *nodeState, seen drift.Peer, psk engine.SecretKey, lost []netip.Prefix) (peerChange, error) {
	if seen.PresharedKey != "" && psk.IsZero() {
		return peerChange{}, conflictf("its preshared key is hidden: adopt it over https, or let the agent show its secrets")
	}
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return peerChange{}, err
	}
	_, orphaned := st.former[seen.PublicKey]
	return peerChange{after: &Peer{
		ID: id, NodeID: st.node.ID, Name: defaultName("adopted", seen.PublicKey), PublicKey: seen.PublicKey, PresharedKey: psk,
		AllowedIPs: slices.DeleteFunc(slices.Clone(seen.AllowedIPs), func(ip netip.Prefix) bool { return slices.Contains(lost, ip) }),
		Keepalive:  &seen.Keepalive, Enabled: true, Adopted: !orphaned, CreatedAt: now, UpdatedAt: now,
	}}, nil
}

// accepted is a peer of the panel that becomes what it is on the node.
func (s *Service) accepted(st *nodeState, step drift.Step, psk engine.SecretKey) (peerChange, error) {
	before, err := st.peer(step.PeerID)
	if err != nil {
		return peerChange{}, err
	}
	after := *before
	for _, m := range step.Changes {
		switch m.Field {
		case drift.FieldAllowedIPs:
			after.AllowedIPs = step.After.AllowedIPs
		case drift.FieldKeepalive:
			after.Keepalive = &step.After.Keepalive
		case drift.FieldPresharedKey:
			if step.After.PresharedKey != "" && psk.IsZero() {
				return peerChange{}, conflictf("its preshared key is hidden: accept it over https, or let the agent show its secrets")
			}
			after.PresharedKey = psk
		}
	}
	after.UpdatedAt = s.now()
	return peerChange{before: before, after: &after}, st.judge(after)
}

// acceptInterface makes settings of the interface the panel's wish as they were seen.
func (r *reconciler) acceptInterface(ctx context.Context, nodeID string, steps []drift.Step, seen drift.Interface) {
	_, _, err := r.s.reviseNode(ctx, nodeID, takenOver, func(n *Node) error {
		for _, s := range steps {
			f := s.Changes[0].Field
			n.Wish.take(f, seen)
			if f == drift.FieldListenPort && n.Overrides.ListenPort != nil {
				n.Overrides.ListenPort = seen.ListenPort
			}
		}
		return n.Wish.normalize()
	})
	if err == nil {
		r.note(steps)
		return
	}
	for _, s := range steps {
		r.fail(s.ID(), s.Op, reasonOf(err))
	}
}

// take makes one setting what was seen.
func (w *InterfaceWish) take(field string, seen drift.Interface) {
	switch field {
	case drift.FieldPublicKey:
		w.PublicKey = seen.PublicKey
	case drift.FieldListenPort:
		w.ListenPort = seen.ListenPort
	case drift.FieldAddresses:
		w.Addresses = seen.Addresses
	case drift.FieldMTU:
		w.MTU = seen.MTU
	case drift.FieldDNS:
		w.DNS = seen.DNS
	case drift.FieldTable:
		w.Table = seen.Table
	case drift.FieldFwMark:
		w.FwMark = seen.FwMark
	case drift.FieldHooks:
		w.Hooks = seen.Hooks
	case drift.FieldForward:
		w.Forward = seen.Forward
	case drift.FieldMasquerade:
		w.Masquerade = seen.Masquerade
	}
}
