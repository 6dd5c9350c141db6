package server

import (
	"bytes"
	"context"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// step is one entry of an apply.
type step struct {
	remove   bool
	wish     wish
	takeFrom *wgtypes.Key
}

// order is the body of an apply, decoded.
type order struct {
	whole            bool // steps are the whole desired state
	steps            []step
	removeUnknown    bool
	allowEmpty       bool
	allowMassRemoval bool
	expect           *string
	dryRun           bool
}

func decodeOrder(q *request) (order, error) {
	var out order
	o, err := decodeBody(q)
	if err != nil {
		return out, err
	}
	peers, whole := o.objects("peers")
	changes, partial := o.objects("changes")
	out.whole = whole
	out.removeUnknown = o.boolean("remove_unknown")
	out.allowEmpty = o.boolean("allow_empty")
	out.allowMassRemoval = o.boolean("allow_mass_removal")
	out.dryRun = o.boolean("dry_run")
	out.expect = o.text("expect", true)
	if whole == partial && len(*o.problems) == 0 {
		return out, fieldError([]any{"body"}, "body", "expected exactly one of peers and changes", nil)
	}
	for _, p := range append(peers, changes...) {
		out.steps = append(out.steps, decodeStep(p, whole))
	}
	if err := o.err(); err != nil {
		return out, err
	}
	return out, out.checkTwice()
}

func decodeStep(o *object, whole bool) step {
	var st step
	key := decodeKey(o)
	if !whole {
		o.require("op")
		op := o.text("op", false)
		if op != nil && *op != agent.OpPut && *op != agent.OpRemove {
			o.problem("value_error", o.at("op"), "expected put or remove", echo("op", o.members["op"]))
		}
		st.remove = op != nil && *op == agent.OpRemove
	}
	if !st.remove {
		st.wish, _ = decodeWish(o, true)
	}
	if whole {
		st.wish.complete()
	}
	st.wish.key = key
	if from := o.text("take_from", true); from != nil && *from != "" {
		k, err := engine.ParseKey(*from)
		if err != nil {
			o.problem("value_error", o.at("take_from"), err.Error(), nil)
		}
		if k == key {
			o.problem("value_error", o.at("take_from"), "a peer takes nothing from itself", nil)
		}
		st.takeFrom = &k
	}
	if e := o.text("endpoint", true); e != nil && *e != "" {
		a, err := netip.ParseAddrPort(*e)
		if err != nil || a.Port() == 0 {
			o.problem("value_error", o.at("endpoint"), "expected address:port, an IPv6 address in brackets", *e)
		}
		st.wish.endpoint = a
	}
	return st
}

// checkTwice refuses a peer that is named by two steps.
func (r order) checkTwice() error {
	seen := make(map[wgtypes.Key]bool, len(r.steps))
	for _, st := range r.steps {
		if seen[st.wish.key] {
			return &engine.FieldError{Peer: st.wish.key, Field: "public_key", Reason: "this peer is listed twice"}
		}
		seen[st.wish.key] = true
	}
	return nil
}

// plan returns the changes that lead from the state to what is asked for; a peer that is as wanted is
// not in it. It also returns the keys that stay untouched although they were named.
func (r order) plan(m *model, h *holders) (engine.Changes, []wgtypes.Key, error) {
	p := planner{model: m, holders: h, changes: make(map[wgtypes.Key]engine.PeerChange)}
	named := make(map[wgtypes.Key]*wish, len(r.steps))
	for _, st := range r.steps {
		named[st.wish.key] = &st.wish
		before, there := engine.Lookup(m.state.Peers, st.wish.key)
		switch {
		case st.remove && there:
			p.changes[st.wish.key] = engine.PeerChange{Before: &before}
		case !st.remove:
			if c := st.wish.on(before, there); c != nil {
				p.changes[st.wish.key] = *c
			}
		}
	}
	for _, st := range r.steps {
		if st.takeFrom == nil || st.remove {
			continue
		}
		if err := named[*st.takeFrom].keeps(st.wish); err != nil {
			return engine.Changes{}, nil, err
		}
		p.take(*st.takeFrom, st.wish.ips)
	}
	var unchanged []wgtypes.Key
	for _, peer := range m.state.Peers {
		_, changed := p.changes[peer.PublicKey]
		switch {
		case changed:
		case r.whole && r.removeUnknown && named[peer.PublicKey] == nil:
			p.changes[peer.PublicKey] = engine.PeerChange{Before: &peer}
		default:
			unchanged = append(unchanged, peer.PublicKey)
		}
	}
	c := p.sorted()
	return c, unchanged, r.checkRemovals(m, c)
}

type planner struct {
	model   *model
	holders *holders
	changes map[wgtypes.Key]engine.PeerChange
}

// take removes prefixes from the peer that is named as their holder.
func (p *planner) take(from wgtypes.Key, ips []netip.Prefix) {
	c, changed := p.changes[from]
	if changed && c.After == nil {
		return
	}
	if !changed {
		before, there := engine.Lookup(p.model.state.Peers, from)
		if !there {
			return
		}
		before.Endpoint = netip.AddrPort{}
		c = engine.PeerChange{Before: &before, After: &before}
	}
	left := slices.DeleteFunc(slices.Clone(c.After.AllowedIPs), func(ip netip.Prefix) bool { return slices.Contains(ips, ip) })
	if len(left) == len(c.After.AllowedIPs) {
		return
	}
	after := *c.After
	after.AllowedIPs = left
	c.After = &after
	p.changes[from] = c
}

// sorted returns the changes in the order of engine.Changes.
func (p *planner) sorted() engine.Changes {
	var c engine.Changes
	for _, change := range p.changes {
		c.Peers = append(c.Peers, change)
	}
	slices.SortFunc(c.Peers, func(a, b engine.PeerChange) int {
		if removed := (a.After == nil) != (b.After == nil); removed {
			if a.After == nil {
				return -1
			}
			return 1
		}
		x, y := a.Key(), b.Key()
		return bytes.Compare(x[:], y[:])
	})
	return c
}

// checkRemovals refuses what would empty an interface, or take more than half of its peers, unless
// the caller said so.
func (r order) checkRemovals(m *model, c engine.Changes) error {
	added, _, removed := c.Count()
	have := len(m.state.Peers)
	switch {
	case removed == 0:
		return nil
	case r.whole && have+added == removed:
		if r.allowEmpty {
			return nil
		}
		return agent.Errorf(agent.CodeEmpty, "the desired state is empty: removing all %d peers needs allow_empty", have)
	case 2*removed > have && !r.allowMassRemoval:
		return agent.Errorf(agent.CodeMassRemoval, "%d of %d peers would be removed: more than half needs allow_mass_removal", removed, have)
	}
	return nil
}

// apply is POST apply: all of it or nothing.
func (s *Server) apply(ctx context.Context, q *request) (*answer, error) {
	r, err := decodeOrder(q)
	if err != nil {
		return nil, err
	}
	var out agent.Applied
	err = s.write(ctx, q, func(ctx context.Context, sl *slot, d engine.Device, m *model) error {
		out, err = s.applyOrder(ctx, q, sl, d, m, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ok(out)
}

func (s *Server) applyOrder(ctx context.Context, q *request, sl *slot, d engine.Device, m *model, r order) (agent.Applied, error) {
	before := m.digest(q.mac)
	if r.expect != nil && *r.expect != "" && *r.expect != before {
		return agent.Applied{}, agent.Errorf(agent.CodePrecondition, "the digest is %s by now: nothing was changed", before)
	}
	sl.holders.sync(m)
	c, unchanged, err := r.plan(m, &sl.holders)
	if err != nil {
		return agent.Applied{}, err
	}
	var after *model
	if r.dryRun {
		err = sl.holders.judge(m.state, c)
		after = m.patched(c)
	} else {
		after, err = s.commit(ctx, sl, d, m, c)
	}
	if err != nil {
		return agent.Applied{}, err
	}
	return applied(c, unchanged, before, after.digest(q.mac)), nil
}

func applied(c engine.Changes, unchanged []wgtypes.Key, before, after string) agent.Applied {
	out := agent.Applied{
		Added: []string{}, Updated: []string{}, Removed: []string{}, Unchanged: make([]string, 0, len(unchanged)),
		Failed: []agent.FailedPeer{}, Before: before, After: after,
	}
	for _, p := range c.Peers {
		list := &out.Updated
		switch {
		case p.Before == nil:
			list = &out.Added
		case p.After == nil:
			list = &out.Removed
		}
		*list = append(*list, p.Key().String())
	}
	for _, k := range unchanged {
		out.Unchanged = append(out.Unchanged, k.String())
	}
	for _, list := range [][]string{out.Added, out.Updated, out.Removed, out.Unchanged} {
		slices.Sort(list)
	}
	return out
}
