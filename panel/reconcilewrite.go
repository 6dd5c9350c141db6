package panel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel/drift"
)

const (
	// batch is how many steps go into one call, so that its body stays well below the agent's limit.
	batch = 8192
	// maxRefusals is how often a call may be refused while the bad peers are being found.
	maxRefusals = 100
)

// writer carries out the steps of one plan that write to the node.
type writer struct {
	agent  Agent
	node   Node
	plan   drift.Plan
	digest string // of the node's peers, as known
	o      ReconcileOptions
	// massRemoval lets the agent remove more than half of its peers.
	massRemoval bool

	done     []drift.Step
	errors   []ReconcileError
	refusals int
}

// stepTime is what one step may take of an agent that does one after the other.
const stepTime = time.Second

// writeInTime is write with a limit.
func (w *writer) writeInTime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.limit())
	defer cancel()
	return w.write(ctx)
}

// limit grows with the plan where the agent is the original one, which does peer after peer.
func (w *writer) limit() time.Duration {
	if !w.agent.Original() {
		return DefaultWriteTimeout
	}
	return max(DefaultWriteTimeout, time.Duration(len(w.plan.Steps))*stepTime)
}

// unsure reports whether a write that ended so may have been done all the same.
func unsure(err error) bool {
	e, ok := errors.AsType[*applyError](err)
	if !ok {
		return false
	}
	known, ok := errors.AsType[*client.Error](e.cause)
	return !ok || known.Kind == client.Unreachable || known.Kind == client.NotAuthentic || known.Kind == client.Malformed
}

// recognize counts as done what the node was seen to hold, and reports whether nothing is left.
func (w *writer) recognize(o drift.Observed) (whole bool) {
	settled := make(map[string]bool, len(w.done)+len(w.errors))
	for _, s := range w.done {
		settled[s.PublicKey] = true
	}
	for _, e := range w.errors {
		settled[e.Peer] = true
	}
	have := make(map[string]drift.Peer, len(o.Peers))
	for _, p := range o.Peers {
		have[p.PublicKey.String()] = p
	}
	whole = true
	for _, s := range w.plan.Steps {
		if s.Op == drift.OpAdopt || settled[s.PublicKey] {
			continue
		}
		p, there := have[s.PublicKey]
		if there == (s.After != nil) && (!there || p.Same(*s.After)) {
			w.done = append(w.done, s)
		} else {
			whole = false
		}
	}
	return whole
}

// write does all steps in one call where that works. Where it is refused, the steps are split
// until the bad ones are found, so that they stop no other; with Atomic the refusal is the error.
func (w *writer) write(ctx context.Context) error {
	groups := w.plan.Groups()
	if w.o.Atomic {
		err := w.apply(ctx, slices.Concat(groups...))
		if err == nil && len(w.errors) > 0 { // the original agent knows no roll-back
			err = &NodeError{NodeID: w.node.ID, Code: string(client.Unsupported), Reason: "the original agent can't do all or nothing: " + w.errors[0].Error}
		}
		return err
	}
	var part [][]drift.Step
	count := 0
	for _, g := range groups {
		if part = append(part, g); count+len(g) < batch {
			count += len(g)
			continue
		}
		if err := w.isolate(ctx, part); err != nil {
			return err
		}
		part, count = nil, 0
	}
	return w.isolate(ctx, part)
}

// isolate does the groups and leaves out those that the node refuses.
func (w *writer) isolate(ctx context.Context, groups [][]drift.Step) error {
	if len(groups) == 0 {
		return nil
	}
	err := w.apply(ctx, slices.Concat(groups...))
	if err == nil {
		return nil
	}
	if hasCode(err, string(client.PlainSecret)) {
		with, without := w.splitByKeys(groups)
		w.refuse(with, err)
		return w.isolate(ctx, without)
	}
	if !isolable(err) {
		return err
	}
	w.refusals++
	if len(groups) == 1 || w.refusals > maxRefusals {
		w.refuse(groups, err)
		return nil
	}
	half := len(groups) / 2
	if err := w.isolate(ctx, groups[:half]); err != nil {
		return err
	}
	return w.isolate(ctx, groups[half:])
}

// apply does these steps in one call.
func (w *writer) apply(ctx context.Context, steps []drift.Step) error {
	if len(steps) == 0 {
		return nil
	}
	changes := w.plan.Changes(steps)
	applied, err := w.agent.Apply(ctx, w.node.WGInterface,
		agent.Apply{Changes: &changes, AllowMassRemoval: w.massRemoval}, client.Write{IfMatch: w.digest})
	w.record(steps, applied, err == nil)
	if err != nil {
		return &applyError{NodeError: nodeError(w.node.ID, err), cause: err}
	}
	w.digest = applied.After
	return nil
}

// record keeps what became of the steps; where the agent did not get through, only what it names.
func (w *writer) record(steps []drift.Step, applied agent.Applied, whole bool) {
	named := make(map[string]bool)
	for _, key := range slices.Concat(applied.Added, applied.Updated, applied.Removed, applied.Unchanged) {
		named[key] = true
	}
	failed := make(map[string]string, len(applied.Failed))
	for _, f := range applied.Failed {
		failed[f.PublicKey] = f.Error
	}
	for _, s := range steps {
		if why, bad := failed[s.PublicKey]; bad {
			w.errors = append(w.errors, ReconcileError{Peer: s.PublicKey, Action: s.Op, Error: why})
		} else if whole || named[s.PublicKey] {
			w.done = append(w.done, s)
		}
	}
}

// applyError keeps what the agent said beside the panel's own error.
type applyError struct {
	NodeError error
	cause     error
}

func (e *applyError) Error() string   { return e.NodeError.Error() }
func (e *applyError) Unwrap() []error { return []error{e.NodeError, e.cause} }

// isolable reports whether other steps may succeed where these failed: the agent refused them, and
// the device is as it was.
func isolable(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Kind != client.Refused || e.Agent == nil {
		return false
	}
	switch e.Agent.Code {
	case agent.CodeAllowedIPTaken, agent.CodeInvalidField, agent.CodeUnknownPeer:
		return true
	case agent.CodeInternal:
		return e.Agent.RolledBack != nil && *e.Agent.RolledBack
	}
	return false
}

func (w *writer) refuse(groups [][]drift.Step, err error) {
	for _, s := range slices.Concat(groups...) {
		w.errors = append(w.errors, ReconcileError{Peer: s.PublicKey, Action: s.Op, Error: reasonOf(err)})
	}
}

// splitByKeys parts the groups that send a preshared key from the others.
func (w *writer) splitByKeys(groups [][]drift.Step) (with, without [][]drift.Step) {
	for _, g := range groups {
		if slices.ContainsFunc(w.plan.Changes(g), func(c agent.Change) bool { return c.PresharedKey != nil && *c.PresharedKey != "" }) {
			with = append(with, g)
		} else {
			without = append(without, g)
		}
	}
	return with, without
}
