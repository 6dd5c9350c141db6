package panel

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

const (
	// planAge is how long a plan may be agreed to. What was seen is compared in any case.
	planAge = 15 * time.Minute
	// planPeers bounds the peers of all plans that are kept, about 200 bytes each: the oldest go first.
	planPeers = 200_000
)

// planBook keeps the plans that somebody was shown. It lives in memory: a plan is of the moment.
type planBook struct {
	mu    sync.Mutex  // protects plans
	plans []agreement // the oldest first
}

// agreement is a plan with what it was made from, so that it can be told what changed since.
type agreement struct {
	Planned
	options  ReconcileOptions
	only     []string // the ids of those actions of it that were shown; nil: all
	desired  drift.Desired
	observed drift.Observed
}

func (a agreement) size() int { return len(a.desired.Peers) + len(a.observed.Peers) + 1 }

// keep adds a plan, and drops those that are too old or too many.
func (b *planBook) keep(a agreement, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plans = append(b.plans, a)
	size := 0
	for i, p := range slices.Backward(b.plans) {
		if size += p.size(); i < len(b.plans)-1 && (size > planPeers || now.After(p.ExpiresAt)) {
			b.plans = slices.Clone(b.plans[i+1:])
			return
		}
	}
}

// find returns a plan of the node that has not expired.
func (b *planBook) find(nodeID, planID string, now time.Time) (agreement, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.plans, func(a agreement) bool { return a.PlanID == planID })
	switch {
	case i < 0:
		return agreement{}, conflictf("plan %s is not known: plans are kept for %d minutes, and not over a restart of the panel; make a new one",
			clip(planID), int(planAge.Minutes()))
	case b.plans[i].NodeID != nodeID:
		return agreement{}, conflictf("plan %s is of another node, %s", clip(planID), b.plans[i].NodeID)
	case now.After(b.plans[i].ExpiresAt):
		return agreement{}, conflictf("plan %s expired at %s: make a new one", clip(planID), b.plans[i].ExpiresAt.Format(time.RFC3339))
	}
	return b.plans[i], nil
}

// agreed returns the options under which a call works: those of the plan that it names, where it names one.
func (s *Service) agreed(nodeID string, o ReconcileOptions) (*agreement, ReconcileOptions, error) {
	if o.PlanID == "" {
		return nil, o, o.check()
	}
	a, err := s.plans.find(nodeID, o.PlanID, s.now())
	if err != nil {
		return nil, o, err
	}
	if o.chosen() && !reflect.DeepEqual(o.plan(), a.options) {
		return nil, o, conflictf("the plan does not hold any more: the options are others than those that it was made with; leave them out, or make a new one")
	}
	all := a.options
	all.DryRun, all.AllowMassRemoval, all.Only, all.PlanID = o.DryRun, o.AllowMassRemoval, a.only, o.PlanID
	for _, id := range o.Only {
		if a.only != nil && !slices.Contains(a.only, id) {
			return nil, o, Invalid("only", "the plan has no action %q", clip(id))
		}
	}
	if o.Only != nil {
		all.Only = o.Only
	}
	return &a, all, nil
}

// propose names a plan that was made from a look, and keeps it.
func (s *Service) propose(st *nodeState, o ReconcileOptions, l look, p drift.Plan) (Planned, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return Planned{}, err
	}
	planned := plannedOf(st, l, p)
	planned.PlanID, planned.ExpiresAt = id, now.Add(planAge)
	a := agreement{Planned: planned, options: o.plan(), only: o.Only, desired: l.desired, observed: l.observed}
	if len(p.Steps) == 0 { // the digests tell whether it stands, and of nothing nobody asks what changed
		a.desired.Peers, a.observed.Peers = nil, nil
	}
	s.plans.keep(a, now)
	return planned, nil
}

func plannedOf(st *nodeState, l look, p drift.Plan) Planned {
	return Planned{
		NodeID: st.node.ID, Plan: p, DesiredRevision: st.node.Revision,
		ObservedDigest: l.observed.Digest, DesiredDigest: l.desired.Digest,
	}
}

// stands refuses to carry out a plan that holds no more, and says what changed since it was made: now is
// the plan that would be made by the same options.
func (a *agreement) stands(l look, now drift.Plan) error {
	var changed []string
	if l.observed.Digest != a.ObservedDigest {
		changed = append(changed, "what is on the node"+differences(a.observed.Peers, l.observed.Peers, drift.Peer.Same, keyOfPeer))
	}
	if l.desired.Digest != a.DesiredDigest {
		changed = append(changed, "what the panel wants"+differences(a.desired.Peers, l.desired.Peers,
			func(x, y drift.DesiredPeer) bool { return x.Same(y.Peer) }, func(p drift.DesiredPeer) wgtypes.Key { return p.PublicKey }))
	}
	if len(changed) == 0 && now.Fingerprint() != a.Plan.Fingerprint() {
		changed = append(changed, "the steps")
	}
	if len(changed) == 0 {
		return nil
	}
	return conflictf("the plan does not hold any more: %s changed since; make a new one", strings.Join(changed, ", and "))
}

func keyOfPeer(p drift.Peer) wgtypes.Key { return p.PublicKey }

// manyDifferences is how many peers a sentence names.
const manyDifferences = 3

// differences names what came, went or changed between two lists that are sorted by key.
func differences[P any](before, after []P, same func(P, P) bool, key func(P) wgtypes.Key) string {
	if before == nil { // they were not kept
		return ""
	}
	old := make(map[wgtypes.Key]P, len(before))
	for _, p := range before {
		old[key(p)] = p
	}
	var parts []string
	for _, p := range after {
		was, ok := old[key(p)]
		switch delete(old, key(p)); {
		case !ok:
			parts = append(parts, fmt.Sprintf("peer %s came", key(p)))
		case !same(was, p):
			parts = append(parts, fmt.Sprintf("peer %s is another", key(p)))
		}
	}
	for _, p := range before {
		if _, left := old[key(p)]; left {
			parts = append(parts, fmt.Sprintf("peer %s went", key(p)))
		}
	}
	switch more := len(parts) - manyDifferences; {
	case len(parts) == 0:
		return ""
	case more > 0:
		return fmt.Sprintf(" (%s and %d more)", strings.Join(parts[:manyDifferences], ", "), more)
	}
	return fmt.Sprintf(" (%s)", strings.Join(parts, ", "))
}
