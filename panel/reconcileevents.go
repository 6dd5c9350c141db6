package panel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
)

// tell leaves a line in the log and an event of every plan that was shown and every one that was carried
// out, of one that failed as well.
func (r *reconciler) tell(ctx context.Context, err error) {
	log := r.s.o.Logger
	switch {
	case err != nil:
		log.WarnContext(ctx, "not reconciled", "node", r.node.ID, "dry_run", r.o.DryRun, "error", reasonOf(err))
	case r.o.DryRun:
	default:
		log.LogAttrs(ctx, slog.LevelInfo, "reconciled", slog.String("node", r.node.ID), slog.String("done", r.result.done()),
			slog.Int("errors", len(r.result.Errors)), slog.Bool("verified", r.result.Verified))
	}
	plan := r.result.Plan
	if r.node.ID == "" || len(plan.Steps)+len(plan.Blocked) == 0 || err != nil && r.o.DryRun {
		return // there was nothing to do, or not even a plan
	}
	e := event.Event{
		Kind: event.Reconciled, Severity: event.Info, PlanID: r.result.PlanID, Revision: r.result.DesiredRevision,
		Changes: r.changes(err),
	}
	switch {
	case r.o.DryRun:
		e.Kind, e.Message = event.PlanMade, fmt.Sprintf("a plan of %d actions was made", len(plan.Steps))
	case err != nil:
		e.Severity, e.Message = event.Warning, "it was not put right: "+reasonOf(err)
	case !r.result.Verified:
		e.Severity, e.Message = event.Warning, r.result.done()+fmt.Sprintf(", %d errors, not verified", len(r.result.Errors))
	default:
		e.Message = r.result.done() + ", verified"
	}
	r.s.tell(ctx, r.node, e)
}

// done counts what was done.
func (r *ReconcileResult) done() string {
	lists := r.lists()
	var parts []string
	for _, v := range []struct{ op, verb string }{
		{drift.OpAdd, "added"},
		{drift.OpUpdate, "updated"},
		{drift.OpRemove, "removed"},
		{drift.OpAdopt, "adopted"},
		{drift.OpAccept, "accepted"},
		{drift.OpInterface, "settings of the interface written:"},
	} {
		if n := len(*lists[v.op]); n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", v.verb, n))
		}
	}
	if len(parts) == 0 {
		return "nothing was done"
	}
	return strings.Join(parts, ", ")
}

// errNotDone is of a step that nobody came to.
var errNotDone = errors.New("it was not come to")

// changes tells of each step how it ended, of all attempts.
func (r *reconciler) changes(err error) []event.Change {
	failed := make(map[string]string, len(r.result.Errors))
	for _, e := range r.result.Errors {
		failed[e.Peer] = e.Error
	}
	var out []event.Change
	done := make(map[string]bool, len(r.did))
	for _, s := range r.did {
		done[s.ID()] = true
		c := changeOf(s)
		c.Outcome, c.Error = event.Done, failed[s.ID()]
		if c.Error != "" { // it was read back otherwise
			c.Outcome = event.Failed
		}
		out = append(out, c)
	}
	for _, s := range r.result.Plan.Steps {
		if done[s.ID()] {
			continue
		}
		c := changeOf(s)
		switch why, known := failed[s.ID()]; {
		case r.o.DryRun:
			c.Outcome = event.Planned
		case known:
			c.Outcome, c.Error = event.Failed, why
		default:
			c.Outcome, c.Error = event.Failed, reasonOf(cmp.Or(err, errNotDone))
		}
		out = append(out, c)
	}
	for _, b := range r.result.Plan.Blocked {
		c := event.Change{Op: b.Op, Peer: b.PublicKey, Outcome: event.Failed, Error: b.Reason}
		if b.PublicKey == "" {
			c.Before = map[string]any{b.Field: nil}
		}
		out = append(out, c)
	}
	return out
}

// changeOf is a step without how it ended.
func changeOf(s drift.Step) event.Change {
	c := event.Change{Op: s.Op, Peer: s.PublicKey, Name: s.Name}
	before, after := s.States()
	c.Before, c.After = briefly(before), briefly(after)
	return c
}
