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
	if o.RemoveUnknown && o.AdoptUnknown {
		return ReconcileResult{}, Invalid("adopt_unknown", "excludes remove_unknown: unknown peers are kept or removed")
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultWriteTimeout)
	defer cancel()
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return ReconcileResult{}, err
	}
	defer release()
	r := &reconciler{s: s, o: o, result: ReconcileResult{
		Added: []string{}, Updated: []string{}, Removed: []string{}, Adopted: []string{}, Errors: []ReconcileError{}, DryRun: o.DryRun,
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
	r.log(ctx, nodeID, err)
	if err != nil {
		return ReconcileResult{}, err
	}
	return r.result, nil
}

// wrote reports whether a step was done.
func (r *reconciler) wrote() bool {
	return !r.o.DryRun && len(r.result.Added)+len(r.result.Updated)+len(r.result.Removed)+len(r.result.Adopted) > 0
}

// log leaves a line of every reconciliation, of one that failed as well.
func (r *reconciler) log(ctx context.Context, nodeID string, err error) {
	switch {
	case err != nil:
		r.s.o.Logger.WarnContext(ctx, "not reconciled", "node", nodeID, "dry_run", r.o.DryRun, "error", reasonOf(err))
	case !r.o.DryRun:
		r.s.o.Logger.InfoContext(ctx, "reconciled", "node", nodeID, "added", len(r.result.Added), "updated", len(r.result.Updated),
			"removed", len(r.result.Removed), "adopted", len(r.result.Adopted), "errors", len(r.result.Errors), "verified", r.result.Verified)
	}
}

func hasCode(err error, code string) bool {
	e, ok := errors.AsType[*NodeError](err)
	return ok && e.Code == code
}

// reconciler is one call of Reconcile.
type reconciler struct {
	s      *Service
	o      ReconcileOptions
	result ReconcileResult
}

// run is one attempt. What an attempt before it did stays in the result.
func (r *reconciler) run(ctx context.Context, nodeID string) error {
	st, err := r.s.state(ctx, nodeID)
	if err != nil {
		return err
	}
	first, err := r.s.observe(ctx, st, false)
	if err != nil {
		return err
	}
	if first.report.Status == drift.Unknown {
		return &NodeError{NodeID: nodeID, Code: drift.Unknown, Reason: first.report.Error}
	}
	if err := r.decide(ctx, nodeID, first); err != nil {
		return err
	}
	plan := r.result.Plan
	switch {
	case r.o.DryRun:
		r.note(plan.Steps)
		r.finish(nodeID, first.report)
		return nil
	case len(plan.Steps) == 0:
		r.finish(nodeID, first.report)
		r.result.Verified = len(r.result.Errors) == 0
		return nil
	}
	return r.do(ctx, st, first)
}

// decide makes the plan, and refuses one that may not be carried out.
func (r *reconciler) decide(ctx context.Context, nodeID string, first look) error {
	plan := drift.Plan{Steps: []drift.Step{}}
	if !first.clean {
		others, err := r.others(ctx, nodeID)
		if err != nil {
			return err
		}
		plan = drift.NewPlan(first.desired, first.observed, drift.Options{
			Missing: r.o.Missing, Mismatched: r.o.Mismatched, RemoveUnknown: r.o.RemoveUnknown, AdoptUnknown: r.o.AdoptUnknown,
			Others: others,
		})
	}
	r.result.Plan, r.result.PlanID = plan, planID(nodeID, r.o, first, plan)
	for _, b := range plan.Blocked {
		r.fail(b.PublicKey, b.Op, b.Reason)
	}
	if r.o.PlanID != "" {
		if err := samePlan(r.o.PlanID, r.result.PlanID); err != nil {
			return err
		}
	}
	return r.judge(first)
}

func (r *reconciler) fail(key, op, why string) {
	r.result.Errors = append(r.result.Errors, ReconcileError{Peer: key, Action: op, Error: why})
}

// note lists the steps as done.
func (r *reconciler) note(steps []drift.Step) {
	for _, s := range steps {
		list := map[string]*[]string{
			drift.OpAdd: &r.result.Added, drift.OpUpdate: &r.result.Updated,
			drift.OpRemove: &r.result.Removed, drift.OpAdopt: &r.result.Adopted,
		}[s.Op]
		*list = append(*list, s.PublicKey)
	}
}

func (r *reconciler) finish(nodeID string, residual drift.Report) {
	residual.NodeID, residual.DetectedAt = nodeID, r.s.now()
	r.result.Residual = residual
}

// judge refuses a plan that removes too much, and one that can't be done whole where it must be.
func (r *reconciler) judge(l look) error {
	if r.o.Atomic && len(r.result.Plan.Blocked) > 0 {
		return conflictf("not all of it can be done, so nothing was: %s", r.result.Plan.Blocked[0].Reason)
	}
	removals := r.removals()
	switch have := len(l.observed.Peers); {
	case removals == 0 || r.o.AllowMassRemoval:
		return nil
	case len(l.desired.Peers) == 0:
		return conflictf("the panel has no peer for this node, and %d would be removed: allow_mass_removal must be given", removals)
	case 2*removals > have:
		return conflictf("%d of %d peers would be removed: for more than half, allow_mass_removal must be given", removals, have)
	}
	return nil
}

func (r *reconciler) removals() (count int) {
	for _, s := range r.result.Plan.Steps {
		if s.Op == drift.OpRemove {
			count++
		}
	}
	return count
}

// do carries out the plan and verifies it. It reads twice before it removes.
func (r *reconciler) do(ctx context.Context, st *nodeState, first look) error {
	if r.removals() > 0 {
		again, err := r.s.observe(ctx, st, true)
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
	w := &writer{agent: a, node: st.node, plan: r.result.Plan, digest: first.observed.Digest, o: r.o}
	err = w.writeInTime(ctx)
	if unsure(err) {
		err = r.settle(ctx, st, w, err)
	}
	r.note(w.done)
	r.result.Errors = append(r.result.Errors, w.errors...)
	if err != nil && (len(w.done) == 0 || hasCode(err, string(agent.CodePrecondition))) {
		return err
	}
	if err != nil { // some of it is done: say what, and what not
		r.failRest(reasonOf(err))
	}
	adopted := r.adopt(ctx, st, first, w.done)
	r.verify(ctx, st.node.ID, first, append(w.done, adopted...))
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

// failRest lists the steps that were neither done nor refused.
func (r *reconciler) failRest(why string) {
	settled := make(map[string]bool)
	for _, key := range slices.Concat(r.result.Added, r.result.Updated, r.result.Removed) {
		settled[key] = true
	}
	for _, e := range r.result.Errors {
		settled[e.Peer] = true
	}
	for _, s := range r.result.Plan.Steps {
		if !settled[s.PublicKey] && s.Op != drift.OpAdopt {
			r.fail(s.PublicKey, s.Op, why)
		}
	}
}

// verify looks again: all that was done must be there, and nothing else may differ from before.
func (r *reconciler) verify(ctx context.Context, nodeID string, before look, done []drift.Step) {
	st, err := r.s.state(ctx, nodeID)
	if err != nil {
		r.finish(nodeID, drift.NotKnown(reasonOf(err)))
		return
	}
	after, err := r.s.observe(ctx, st, false)
	if err != nil {
		r.finish(nodeID, drift.NotKnown(reasonOf(err)))
		return
	}
	r.finish(nodeID, after.report)
	r.result.Verified = len(r.result.Errors) == 0 && after.report.Status != drift.Unknown &&
		drift.Expect(before.observed, done).Digest == after.snapshot.Digest
}
