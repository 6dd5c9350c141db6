package panel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// Reconcile brings a node to its desired state: look, plan, apply only the difference under the
// condition that the node is as it was seen, look again. Where the node changed in between, all of
// it is done once more. A node that is as wanted is not written to. Once writing begins it goes on
// though the caller gives up.
func (s *Service) Reconcile(ctx context.Context, nodeID string, o ReconcileOptions) (ReconcileResult, error) {
	agreed, o, err := s.agreed(nodeID, o)
	if err != nil {
		return ReconcileResult{}, err
	}
	return s.reconcileAs(ctx, nodeID, o, agreed)
}

// reconcileAs is Reconcile of what was agreed to already; nil: of what the options make.
func (s *Service) reconcileAs(ctx context.Context, nodeID string, o ReconcileOptions, agreed *agreement) (ReconcileResult, error) {
	if _, err := s.state(ctx, nodeID); err != nil {
		return ReconcileResult{}, err // before a slot is taken for what is not there
	}
	result, err := s.reconcile(ctx, nodeID, o, agreed, nil)
	if err == nil && !o.DryRun {
		s.keepers.forgive(nodeID)
	}
	return result, err
}

// reconcile carries out what somebody agreed to, or what healing allows; one of both is nil, or both are.
func (s *Service) reconcile(ctx context.Context, nodeID string, o ReconcileOptions, agreed *agreement, h *healing) (ReconcileResult, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultWriteTimeout)
	defer cancel()
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return ReconcileResult{}, err
	}
	defer release()
	r := &reconciler{s: s, o: o, agreed: agreed, healing: h, result: ReconcileResult{
		Added: []string{}, Updated: []string{}, Removed: []string{}, Adopted: []string{}, Accepted: []string{}, Interface: []string{},
		Errors: []ReconcileError{}, DryRun: o.DryRun,
	}}
	err = r.run(ctx, nodeID)
	if err != nil && hasCode(err, string(agent.CodePrecondition)) {
		r.result.Errors = []ReconcileError{}
		err = r.run(ctx, nodeID)
	}
	if err != nil && r.wrote() {
		r.failRest(reasonOf(err))
		r.finish(nodeID, drift.NotKnown(reasonOf(err)))
		err = nil
	}
	r.tell(ctx, err)
	if err != nil {
		return ReconcileResult{}, err
	}
	return r.result, nil
}

// wrote reports whether a step was done.
func (r *reconciler) wrote() bool { return !r.o.DryRun && r.count() > 0 }

// count is how many steps are in the result as done.
func (r *reconciler) count() int {
	n := 0
	for _, list := range r.result.lists() {
		n += len(*list)
	}
	return n
}

// lists are those of the result, by the op of the steps that they hold.
func (r *ReconcileResult) lists() map[string]*[]string {
	return map[string]*[]string{
		drift.OpAdd: &r.Added, drift.OpUpdate: &r.Updated, drift.OpRemove: &r.Removed,
		drift.OpAdopt: &r.Adopted, drift.OpAccept: &r.Accepted, drift.OpInterface: &r.Interface,
	}
}

func hasCode(err error, code string) bool {
	e, ok := errors.AsType[*NodeError](err)
	return ok && e.Code == code
}

// reconciler is one call of Reconcile.
type reconciler struct {
	s       *Service
	o       ReconcileOptions
	agreed  *agreement   // nil: no plan was named
	healing *healing     // nil: somebody asked
	node    Node         // as it was when the plan was made
	did     []drift.Step // by all attempts
	// massRemoval: the plan at hand may remove what the agent refuses otherwise.
	massRemoval bool
	result      ReconcileResult
}

// run is one attempt. What an attempt before it did stays in the result.
func (r *reconciler) run(ctx context.Context, nodeID string) error {
	st, err := r.s.state(ctx, nodeID)
	if err != nil {
		return err
	}
	r.node = st.node
	first, err := r.look(ctx, st, false)
	if err != nil {
		return err
	}
	if first.report.Status == drift.Unknown {
		return &NodeError{NodeID: nodeID, Code: drift.Unknown, Reason: first.report.Error}
	}
	if err := r.decide(ctx, st, first); err != nil {
		return err
	}
	switch {
	case r.o.DryRun:
		r.note(r.result.Plan.Steps)
		r.finish(nodeID, first.report)
		return nil
	case len(r.result.Plan.Steps) == 0:
		r.finish(nodeID, first.report)
		r.result.Verified = len(r.result.Errors) == 0
		return nil
	}
	return r.do(ctx, st, first)
}

// look looks at the node, whose slot is held, and keeps the verdict.
func (r *reconciler) look(ctx context.Context, st *nodeState, full bool) (look, error) {
	number := r.s.verdicts.begin()
	l, err := r.s.observe(ctx, st, full)
	r.s.judged(ctx, st.node, number, l.verdict(err))
	return l, err
}

// decide makes the plan, and refuses one that may not be carried out.
func (r *reconciler) decide(ctx context.Context, st *nodeState, first look) error {
	whole, err := r.plan(ctx, st, first, nil)
	if err != nil {
		return err
	}
	if r.agreed != nil {
		if err := r.agreed.stands(first.whole(), whole); err != nil {
			return err
		}
	}
	plan := whole
	if r.healing != nil {
		if r.o.Only = r.healing.choose(ctx, r.s, st, first, whole); r.o.Only == nil {
			r.result.Planned = plannedOf(st, first, drift.Plan{Steps: []drift.Step{}})
			return nil
		}
	}
	if r.o.Only != nil {
		if plan, err = r.plan(ctx, st, first, r.o.Only); err != nil {
			return err
		}
	}
	r.result.Planned = plannedOf(st, first, plan)
	switch {
	case r.agreed != nil:
		r.result.PlanID, r.result.ExpiresAt = r.agreed.PlanID, r.agreed.ExpiresAt
	case r.o.DryRun:
		if r.result.Planned, err = r.s.propose(st, r.o, first.whole(), whole); err != nil {
			return err
		}
		r.result.Plan = plan
	}
	for _, b := range plan.Blocked {
		r.fail(b.ID(), b.Op, b.Reason)
	}
	return r.judge(ctx, st, first)
}

// plan decides what to do. The peers of a node that is clean were not read, and need no step.
func (r *reconciler) plan(ctx context.Context, st *nodeState, l look, only []string) (drift.Plan, error) {
	if l.clean && len(l.report.Interface) == 0 && only == nil {
		return drift.Plan{Steps: []drift.Step{}}, nil
	}
	others, err := r.others(ctx, st.node.ID)
	if err != nil {
		return drift.Plan{}, err
	}
	l = l.whole()
	p, err := drift.NewPlan(l.desired, l.observed, drift.Options{
		Missing: r.o.Missing, Mismatched: r.o.Mismatched, PruneOrphaned: r.o.PruneOrphaned, PruneForeign: r.o.PruneForeign,
		Adopt: r.o.AdoptUnknown, Accept: r.o.Accept, Interface: r.o.Interface, Only: only, Others: others, Now: r.s.now(),
	})
	if id, ok := errors.AsType[*drift.UnknownStepError](err); ok {
		return p, Invalid("only", "the plan has no action %q", clip(id.ID))
	}
	return p, err
}

func (r *reconciler) fail(id, op, why string) {
	r.result.Errors = append(r.result.Errors, ReconcileError{Peer: id, Action: op, Error: why})
}

// note lists the steps as done; those of a dry run as what would be.
func (r *reconciler) note(steps []drift.Step) {
	if !r.o.DryRun {
		r.did = append(r.did, steps...)
	}
	lists := r.result.lists()
	for _, s := range steps {
		name := s.ID()
		if s.Op == drift.OpInterface {
			name = s.Changes[0].Field
		}
		*lists[s.Op] = append(*lists[s.Op], name)
	}
}

func (r *reconciler) finish(nodeID string, residual drift.Report) {
	residual.NodeID, residual.DetectedAt = nodeID, r.s.now()
	r.result.Residual = residual
}

// judge refuses a plan that removes too much, and one that can't be done whole where it must be.
func (r *reconciler) judge(ctx context.Context, st *nodeState, l look) error {
	if r.o.Atomic && len(r.result.Plan.Blocked) > 0 {
		return conflictf("not all of it can be done, so nothing was: %s", r.result.Plan.Blocked[0].Reason)
	}
	removals, have := r.result.Plan.Removals(), len(l.observed.Peers)
	if r.massRemoval = r.o.AllowMassRemoval; removals == 0 || r.massRemoval {
		return nil
	}
	p, err := r.s.policyOf(ctx, st.node)
	if err != nil {
		return err
	}
	switch {
	case len(l.desired.Peers) == 0:
		return conflictf("the panel has no peer for this node, and %d would be removed: allow_mass_removal must be given", removals)
	case 100*removals > p.MaxDeletePercent*have:
		return conflictf("%d of %d peers would be removed: for more than %d %% (max_delete_percent), allow_mass_removal must be given",
			removals, have, p.MaxDeletePercent)
	}
	r.massRemoval = true // the policy lets so many go
	return nil
}

// do carries out the plan and verifies it. It reads twice before it removes.
func (r *reconciler) do(ctx context.Context, st *nodeState, first look) error {
	if r.result.Plan.Removals() > 0 {
		again, err := r.look(ctx, st, true)
		if err != nil {
			return err
		}
		if again.observed.Digest != first.observed.Digest {
			return &NodeError{NodeID: st.node.ID, Code: string(agent.CodePrecondition), Reason: "the node's peers changed between two reads: nothing was removed"}
		}
	}
	a, err := r.s.reach(st.node)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	w := &writer{agent: a, node: st.node, plan: r.result.Plan, digest: first.observed.Digest, o: r.o, massRemoval: r.massRemoval}
	err = w.writeInTime(ctx)
	if unsure(err) {
		err = r.settle(ctx, st, w, err)
	}
	r.note(w.done)
	r.result.Errors = append(r.result.Errors, w.errors...)
	switch {
	case err != nil && (len(w.done) == 0 || hasCode(err, string(agent.CodePrecondition))):
		return err
	case err != nil: // some of it is done: say what, and what not
		r.failRest(reasonOf(err))
	default:
		r.writeInterface(ctx, a, first)
	}
	r.takeOver(ctx, st, first, w.done)
	r.verify(ctx, st.node.ID, first, w.done)
	return nil
}

// settle finds out by a look which steps were done where the answer to them was lost. It returns
// nil where all were, and otherwise why the rest was not.
func (r *reconciler) settle(ctx context.Context, st *nodeState, w *writer, cause error) error {
	after, err := r.s.observe(ctx, st, true)
	if err != nil {
		code := string(client.Unreachable)
		if e, ok := errors.AsType[*NodeError](cause); ok {
			code = e.Code
		}
		return &NodeError{NodeID: st.node.ID, Code: code, Reason: fmt.Sprintf(
			"%s; what of it was done is not known, as the node could not be read afterwards: %s", reasonOf(cause), reasonOf(err))}
	}
	if w.recognize(after.observed) {
		return nil
	}
	return cause
}

// failRest lists the steps on the node that were neither done nor refused.
func (r *reconciler) failRest(why string) {
	settled := make(map[string]bool)
	for _, key := range slices.Concat(r.result.Added, r.result.Updated, r.result.Removed) {
		settled[key] = true
	}
	for _, e := range r.result.Errors {
		settled[e.Peer] = true
	}
	for _, s := range r.result.Plan.Steps {
		if !settled[s.ID()] && s.Op != drift.OpAdopt && s.Op != drift.OpAccept {
			r.fail(s.ID(), s.Op, why)
		}
	}
}

// writeInterface writes the settings that the plan puts right, all in one call.
func (r *reconciler) writeInterface(ctx context.Context, a Agent, first look) {
	var steps []drift.Step
	var differs []drift.Mismatch
	for _, s := range r.result.Plan.Steps {
		if s.Op == drift.OpInterface {
			steps, differs = append(steps, s), append(differs, s.Changes...)
		}
	}
	if len(steps) == 0 {
		return
	}
	err := r.s.putInterface(ctx, r.node, a, differs, first.desired.Interface)
	if err == nil {
		r.note(steps)
		return
	}
	for _, s := range steps {
		r.fail(s.ID(), s.Op, reasonOf(err))
	}
}

// verify looks again: all that was done must be there, and nothing else may differ from before.
func (r *reconciler) verify(ctx context.Context, nodeID string, before look, done []drift.Step) {
	st, err := r.s.state(ctx, nodeID)
	if err != nil {
		r.finish(nodeID, drift.NotKnown(reasonOf(err)))
		return
	}
	after, err := r.look(ctx, st, false)
	if err != nil {
		r.finish(nodeID, drift.NotKnown(reasonOf(err)))
		return
	}
	for _, m := range after.report.Interface {
		if i := slices.Index(r.result.Interface, m.Field); i >= 0 {
			r.result.Interface = slices.Delete(r.result.Interface, i, i+1)
			r.fail(drift.InterfaceStep(m.Field), drift.OpInterface, "the node took the settings, but this one is still another")
		}
	}
	r.finish(nodeID, after.report)
	r.result.Verified = len(r.result.Errors) == 0 && after.report.Status != drift.Unknown &&
		drift.Expect(before.whole().observed, done).Digest == after.snapshot.Digest
}
