package panel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// maxRollbacks bounds the plans that are kept: the oldest go first.
const maxRollbacks = 1000

// rollbackBook keeps the plans of rollbacks that somebody was shown. It lives in memory. What a plan
// does follows from its two revisions, which never change.
type rollbackBook struct {
	mu    sync.Mutex // protects plans
	plans []Rollback // the oldest first
}

func (b *rollbackBook) keep(r Rollback, now time.Time) {
	r.Diff, r.Warnings = RevisionDiff{}, nil
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plans = slices.DeleteFunc(b.plans, func(p Rollback) bool { return now.After(p.ExpiresAt) })
	b.plans = append(b.plans, r)
	if more := len(b.plans) - maxRollbacks; more > 0 {
		b.plans = slices.Delete(b.plans, 0, more)
	}
}

// find returns a plan that has not expired and is the one that was asked for.
func (b *rollbackBook) find(nodeID, planID string, to uint64, now time.Time) (Rollback, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.plans, func(p Rollback) bool { return p.PlanID == planID })
	switch {
	case i < 0:
		return Rollback{}, conflictf("plan %s is not known: plans are kept for %d minutes, and not over a restart of the panel; make a new one",
			clip(planID), int(planAge.Minutes()))
	case b.plans[i].NodeID != nodeID:
		return Rollback{}, conflictf("plan %s is of another node, %s", clip(planID), b.plans[i].NodeID)
	case b.plans[i].To != to:
		return Rollback{}, conflictf("plan %s goes back to revision %d, not to %d", clip(planID), b.plans[i].To, to)
	case now.After(b.plans[i].ExpiresAt):
		return Rollback{}, conflictf("plan %s expired at %s: make a new one", clip(planID), b.plans[i].ExpiresAt.Format(time.RFC3339))
	}
	return b.plans[i], nil
}

// Rollback plans to make a node's desired state what it was at a revision; with a plan's id it carries
// that plan out, as a new revision, or refuses it where the node has moved on. The node itself is not
// contacted: it has drift then.
func (s *Service) Rollback(ctx context.Context, nodeID string, to uint64, planID string) (Rollback, error) {
	if planID == "" {
		return s.planRollback(ctx, nodeID, to)
	}
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return Rollback{}, err
	}
	defer release()
	plan, err := s.rollbacks.find(nodeID, planID, to, s.now())
	if err != nil {
		return Rollback{}, err
	}
	return s.rollBack(ctx, plan)
}

func (s *Service) planRollback(ctx context.Context, nodeID string, to uint64) (Rollback, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return Rollback{}, err
	}
	var w *backWay
	err = s.try(ctx, func(tx store.Tx) error {
		if w, err = wayBack(tx, nodeID, to, now); err != nil {
			return err
		}
		_, err = s.goBack(ctx, tx, w)
		return err
	})
	if err != nil {
		return Rollback{}, err
	}
	plan := w.plan()
	plan.PlanID, plan.ExpiresAt = id, now.Add(planAge)
	s.rollbacks.keep(plan, now)
	return plan, nil
}

// rollBack carries out a plan, all or nothing. The caller holds the node's slot.
func (s *Service) rollBack(ctx context.Context, plan Rollback) (Rollback, error) {
	var rev revised
	var w *backWay
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, plan.NodeID)
		if err != nil {
			return err
		}
		if r.Revision != plan.From {
			return movedOn(tx, plan, r)
		}
		if w, err = wayBack(tx, plan.NodeID, plan.To, s.now()); err != nil {
			return err
		}
		rev, err = s.goBack(ctx, tx, w)
		return err
	})
	if err != nil {
		return Rollback{}, err
	}
	done := w.plan()
	done.PlanID, done.ExpiresAt, done.Done = plan.PlanID, plan.ExpiresAt, true
	if !w.diff.empty() {
		done.Revision = rev.Number
		s.tellRevised(ctx, rev)
		s.deadlines.changed(w.changes)
	}
	return done, nil
}

// goBack makes the change, as a new revision; none where nothing differs. It refuses, as a conflict, what
// would break a rule.
func (s *Service) goBack(ctx context.Context, tx store.Tx, w *backWay) (revised, error) {
	if w.diff.empty() {
		return revised{}, nil
	}
	ps, err := presetsOf(tx)
	if err != nil {
		return revised{}, err
	}
	next, old, n := w.next, w.old.node(w.id, ps), w.next.node(w.id, ps)
	for _, step := range []func() error{
		func() error { return w.check(n) },
		func() error { return renameNode(tx, old, n) },
		func() error { return n.refer(tx, old) },
		func() error { return putPeers(tx, w.id, &next, w.changes, peerWrite{rollback: true, now: w.now}) },
		func() error { return w.forgetFetched(tx) },
	} {
		err := step()
		if bad, ok := errors.AsType[*InvalidError](err); ok {
			return revised{}, conflictf("what was wanted at revision %d is not possible any more: %v", w.to, bad)
		}
		if err != nil {
			return revised{}, err
		}
	}
	return s.revise(ctx, tx, ps, w.id, w.old, next, w.changes, fmt.Sprintf("rolled back to revision %d", w.to))
}

// forgetFetched drops what is kept of the files of peers that go.
func (w *backWay) forgetFetched(tx store.Tx) error {
	for _, c := range w.changes {
		if c.after != nil {
			continue
		}
		if err := fetchedTable.In(w.id).Delete(tx, c.before.ID); err != nil {
			return err
		}
	}
	return nil
}

// movedOn says what was changed since a plan was made.
func movedOn(tx store.Tx, plan Rollback, now nodeRecord) error {
	var since []string
	newer, err := revisionsBetween(tx, plan.NodeID, plan.From, 0)
	if err != nil {
		return err
	}
	for _, r := range newer[:min(len(newer), manyDifferences)] {
		since = append(since, fmt.Sprintf("%d: %s", r.number, r.record.Summary))
	}
	return conflictf("the plan does not hold any more: node %s was at revision %d and is at %d by now (%s); make a new one",
		now.Name, plan.From, now.Revision, strings.Join(since, "; "))
}

// backWay is what a rollback does.
type backWay struct {
	id      string // of the node
	old     nodeRecord
	next    nodeRecord // as it will be, but for its peers' count and its revision
	to      uint64
	diff    RevisionDiff
	changes []peerChange
	present map[string]peerRecord
	since   []string // fields that changed since and stay as they are
	now     time.Time
}

// wayBack finds out what leads from the present state to an older one.
func wayBack(tx store.Tx, nodeID string, to uint64, now time.Time) (*backWay, error) {
	p, err := presentOf(tx, nodeID)
	if err != nil {
		return nil, err
	}
	w := &backWay{id: nodeID, old: p.node, next: p.node, to: to, present: maps.Clone(p.peers), now: now}
	if _, err := revisionOf(tx, nodeID, p.node, to); err != nil {
		return nil, err
	}
	newer, err := revisionsBetween(tx, nodeID, to, 0)
	if err != nil {
		return nil, err
	}
	for _, r := range newer {
		for _, f := range r.record.Fields {
			if slices.Contains(fixedFields, f) && !slices.Contains(w.since, f) {
				w.since = append(w.since, f)
			}
		}
	}
	if err := p.rewind(tx, to); err != nil {
		return nil, err
	}
	w.next.desiredRecord, w.next.UpdatedAt = p.node.desiredRecord, now
	for _, c := range changesBetween(nodeID, w.present, p.peers) {
		if len(diffPeers([]peerChange{c})) == 0 {
			continue // only its times differ
		}
		if c.after != nil {
			c.after.UpdatedAt = now
		}
		w.changes = append(w.changes, c)
	}
	w.diff = RevisionDiff{
		From: w.old.Revision, To: to,
		Node: diffNode(w.old.desiredRecord, w.next.desiredRecord), Peers: diffPeers(w.changes),
	}
	return w, nil
}

func (w *backWay) plan() Rollback {
	return Rollback{
		NodeID: w.id, From: w.old.Revision, To: w.to, Diff: w.diff, Warnings: w.warnings(), Revision: w.old.Revision,
	}
}

// check refuses peers that the node, as it will be, can't have. That no two have the same prefix is the
// store's business.
func (w *backWay) check(n Node) error {
	st := &nodeState{node: n}
	for _, c := range w.changes {
		if c.after == nil {
			continue
		}
		if err := st.judge(*c.after); err != nil {
			return fmt.Errorf("peer %s: %w", c.after.title(), err)
		}
	}
	added, _, removed := countPeers(w.diff.Peers)
	if count := w.old.PeerCount + added - removed; added > removed && w.next.MaxPeers > 0 && count > w.next.MaxPeers {
		return conflictf("node %s would have %d peers, and its max_peers at revision %d is %d", w.next.Name, count, w.to, w.next.MaxPeers)
	}
	return nil
}

// warnings names what a person may not expect.
func (w *backWay) warnings() []string {
	out := []string{}
	holder := make(map[netip.Prefix]peerRecord)
	for _, r := range w.present {
		for _, ip := range r.AllowedIPs {
			holder[ip] = r
		}
	}
	for _, c := range w.changes {
		if c.after == nil {
			continue
		}
		if c.before == nil {
			out = append(out, fmt.Sprintf("peer %s comes back, with its keys", c.after.title()))
		}
		if c.after.expired(w.now) {
			out = append(out, fmt.Sprintf("peer %s is expired since %s: if it is on the node, it is drift", c.after.title(), stampOf(c.after.ExpiresAt)))
		}
		for _, ip := range c.after.AllowedIPs {
			if h, ok := holder[ip]; ok && (c.before == nil || !slices.Contains(c.before.AllowedIPs, ip)) {
				out = append(out, fmt.Sprintf("%s is of peer %s now, and goes back to %s", ip, h.peer("", "").title(), c.after.title()))
			}
		}
	}
	slices.Sort(out)
	out = append(out, partings(w.changes)...)
	for _, f := range w.since {
		out = append(out, f+" of the node was changed since, and stays as it is")
	}
	return out
}
