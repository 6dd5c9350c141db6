package panel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// healing is what decides, within a reconciliation that nobody asked for, which part of its plan is done.
type healing struct {
	policy   policy.Policy
	state    policy.State
	revision uint64 // of the desired state that was decided about
	decided  bool
	decision policy.Decision
	besides  string // why peers are not removed, beside what the policy says; "": they may be
}

// heal puts a node right as far as its policy allows. It returns what was decided and, where something was
// tried, what came of it.
func (s *Service) heal(ctx context.Context, n Node, p policy.Policy, state policy.State) (policy.Decision, *policy.Outcome) {
	nodeID := n.ID
	ctx = event.WithActor(ctx, event.Actor{Kind: event.ActorSystem, Name: "heal"})
	h := &healing{policy: p, state: state}
	o := ReconcileOptions{
		Missing: p.Heal.Missing, Mismatched: p.Heal.Mismatched, Interface: p.Heal.Interface,
		PruneOrphaned: p.Heal.PruneOrphaned, PruneForeign: p.Heal.PruneForeign,
		AllowMassRemoval: true, // the decision bounds what is removed
	}
	result, err := s.reconcile(ctx, nodeID, o, nil, h)
	if !h.decided && isConflict(err) && o.prunes() { // somebody else answers for what is on the node as well
		h.besides = reasonOf(err)
		o.PruneOrphaned, o.PruneForeign = false, false
		result, err = s.reconcile(ctx, nodeID, o, nil, h)
	}
	d := h.decision
	if err != nil && ctx.Err() != nil {
		return d, nil
	}
	if err != nil && !h.decided {
		d.Why = "it could not be decided what to heal: " + reasonOf(err)
		s.healed(ctx, n, d)
		return d, nil
	}
	if !d.Do {
		return d, nil
	}
	return d, &policy.Outcome{Fingerprint: d.Fingerprint, Revision: h.revision, Verified: err == nil && result.Verified}
}

// choose returns the ids of the steps that are done now; nil for none.
func (h *healing) choose(ctx context.Context, s *Service, st *nodeState, l look, whole drift.Plan) []string {
	orphan := func(step drift.Step) bool {
		key, err := wgtypes.ParseKey(step.PublicKey)
		former, ok := l.desired.Former[key]
		return err == nil && ok && !former.RolledBack // of those who left in a mass as many go as of strangers
	}
	safe, taking := safeSteps(whole)
	revoking := only(safe, func(step drift.Step) bool { return step.Op == drift.OpRemove && orphan(step) })
	pruning := only(safe, func(step drift.Step) bool { return step.Op == drift.OpRemove && !orphan(step) })
	sit := policy.Situation{
		Now: s.now(), Revision: st.node.Revision, Fingerprint: fingerprint(safe), Revocations: fingerprint(revoking),
		Steps: len(safe), Removals: len(pruning), Peers: len(l.observed.Peers),
	}
	p := h.policy
	if len(l.desired.Peers) == 0 {
		p.MaxDeletePercent = 0 // a panel that wants nobody is not believed about strangers
	}
	h.decided, h.decision, h.revision = true, policy.Decide(p, h.state, sit, rand.Float64), st.node.Revision
	h.decision.Why = strings.Join(nonEmpty(h.decision.Why, taking, h.besides), "; ")
	s.healed(ctx, st.node, h.decision)
	switch d := h.decision; {
	case !d.Do:
		return nil
	case d.Revoke:
		safe = revoking
	case d.NoRemovals:
		safe = only(safe, func(step drift.Step) bool { return step.Op != drift.OpRemove || orphan(step) })
	}
	ids := make([]string, len(safe))
	for i, step := range safe {
		ids[i] = step.ID()
	}
	return ids
}

// safeSteps leaves out what takes addresses from peers that the panel does not know: a person decides that.
func safeSteps(p drift.Plan) (safe []drift.Step, why string) {
	safe = only(p.Steps, func(step drift.Step) bool { return len(step.Takes) == 0 })
	if n := len(p.Steps) - len(safe); n > 0 {
		why = fmt.Sprintf("%d changes would take addresses from peers that the panel does not know: they are left to a person", n)
	}
	return safe, why
}

func only(steps []drift.Step, choose func(drift.Step) bool) []drift.Step {
	var out []drift.Step
	for _, s := range steps {
		if choose(s) {
			out = append(out, s)
		}
	}
	return out
}

func nonEmpty(texts ...string) []string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

// fingerprint names what the steps do; "" for none.
func fingerprint(steps []drift.Step) string {
	if len(steps) == 0 {
		return ""
	}
	return drift.Plan{Steps: steps}.Fingerprint()
}

// healed keeps why a node is not put right, and tells that healing was given up.
func (s *Service) healed(ctx context.Context, n Node, d policy.Decision) {
	stopped := d.Stop || d.Stopped
	if now := s.health.of(n.ID); now.Healing != d.Why || now.Stopped != stopped {
		s.judge(ctx, n, func(st *NodeStatus) []Condition {
			st.Healing, st.Stopped = d.Why, stopped
			return nil
		})
	}
	if d.Stop {
		s.o.Logger.WarnContext(ctx, "healing was given up", "node", n.ID, "name", n.Name, "reason", d.Why)
		s.tell(ctx, n, event.Event{Kind: event.HealingStopped, Severity: event.Critical, Revision: n.Revision, Message: d.Why})
	}
}
