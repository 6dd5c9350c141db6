package panel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
)

// verdicts keeps what the last look at each node found.
type verdicts struct {
	mu     sync.Mutex // protects what follows
	byNode map[string]verdict
	looks  uint64                   // begun so far
	turns  map[string]chan struct{} // by node; capacity 1: full while somebody judges
}

// turn waits until nobody else judges the node: of two looks at the same time one tells what changed, and in
// the order of the looks. The caller calls the returned function when done.
func (v *verdicts) turn(nodeID string) (done func()) {
	v.mu.Lock()
	c, ok := v.turns[nodeID]
	if !ok {
		c = make(chan struct{}, 1)
		v.turns[nodeID] = c
	}
	v.mu.Unlock()
	c <- struct{}{}
	return func() { <-c }
}

// verdict is what a look at a node found.
type verdict struct {
	look   uint64 // a greater one began later
	status string
	issues map[string]event.Change // by what each is about
}

// begin numbers a look, so that one that took long does not replace what a later one found.
func (v *verdicts) begin() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.looks++
	return v.looks
}

// put keeps a verdict and returns it with the one before; not ok where a later look was quicker. What
// differed stays on record while a node can't be looked at.
func (v *verdicts) put(nodeID string, next verdict) (before, kept verdict, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before = v.byNode[nodeID]
	if before.look > next.look {
		return before, next, false
	}
	if next.status == drift.Unknown {
		next.issues = before.issues
	}
	v.byNode[nodeID] = next
	return before, next, true
}

func (v *verdicts) drop(nodeID string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.byNode, nodeID)
	delete(v.turns, nodeID)
}

// judged keeps the verdict of a look, and tells of it where it is another than the one before.
func (s *Service) judged(ctx context.Context, n Node, look uint64, r drift.Report) {
	if !n.Enabled || ctx.Err() != nil && r.Status == drift.Unknown {
		return // left alone, or given up here: that says nothing about the node
	}
	defer s.verdicts.turn(n.ID)()
	before, next, ok := s.verdicts.put(n.ID, verdict{look: look, status: r.Status, issues: issuesOf(r)})
	if !ok {
		return
	}
	s.judge(ctx, n, func(st *NodeStatus) []Condition {
		st.Drift = r.Status
		return []Condition{syncedCondition(r)}
	})
	known := s.recall(ctx, n.ID)
	sum := sumOf(next.issues)
	if known.Verdict == next.status && known.Issues == sum {
		return
	}
	s.remember(ctx, n.ID, func(m *memory) { m.Verdict, m.Issues = next.status, sum })
	if known.Verdict == "" && next.status == drift.InSync {
		return // nothing changed: it was never looked at before
	}
	s.tell(ctx, n, driftEvent(n, known.Verdict, before, next, r))
}

// driftEvent says what is another than at the last look.
func driftEvent(n Node, from string, before, next verdict, r drift.Report) event.Event {
	e := event.Event{
		Kind: event.DriftChanged, Severity: event.Info, From: from, To: next.status, Revision: n.Revision,
		Message: "it is as the panel wants it",
	}
	switch next.status {
	case drift.Drifted:
		e.Severity, e.Message = event.Warning, inShort(r)
	case drift.Unknown: // nothing is known of what differed before
		e.Severity, e.Message = event.Warning, "it could not be looked at: "+r.Error
		return e
	}
	for _, about := range slices.Sorted(maps.Keys(next.issues)) {
		c := next.issues[about]
		if old, ok := before.issues[about]; !ok || !sameChange(old, c) {
			c.Outcome = event.Appeared
			e.Changes = append(e.Changes, c)
		}
	}
	for _, about := range slices.Sorted(maps.Keys(before.issues)) {
		if _, ok := next.issues[about]; !ok {
			c := before.issues[about]
			c.Before, c.After, c.Outcome = c.After, c.Before, event.Resolved
			e.Changes = append(e.Changes, c)
		}
	}
	return e
}

// inShort counts what differs.
func inShort(r drift.Report) string {
	var parts []string
	for _, p := range []struct {
		count int
		what  string
	}{
		{len(r.Missing), "missing"},
		{len(r.Mismatched), "mismatched"},
		{len(r.Unknown), "unknown"},
		{len(r.Interface), "settings of the interface"},
	} {
		if p.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.count, p.what))
		}
	}
	return "it differs from what the panel wants: " + strings.Join(parts, ", ")
}

// issuesOf lists what a report says. Before is what is wanted, After what was seen.
func issuesOf(r drift.Report) map[string]event.Change {
	out := make(map[string]event.Change, r.Issues()+len(r.Interface))
	for _, p := range r.Missing {
		out[p.PublicKey] = event.Change{
			Op: "missing", Peer: p.PublicKey, Name: p.Name, Before: map[string]any{drift.FieldAllowedIPs: p.AllowedIPs},
		}
	}
	for _, p := range r.Mismatched {
		c := event.Change{Op: "mismatched", Peer: p.PublicKey, Name: p.Name, Before: map[string]any{}, After: map[string]any{}}
		for _, m := range p.Mismatches {
			c.Before[m.Field], c.After[m.Field] = m.Expected, m.Actual
		}
		out[p.PublicKey] = c
	}
	for _, p := range r.Unknown {
		out[p.PublicKey] = event.Change{
			Op: p.Origin, Peer: p.PublicKey, Name: p.Name,
			After: map[string]any{drift.FieldAllowedIPs: p.AllowedIPs, drift.FieldKeepalive: p.PersistentKeepalive},
		}
	}
	for _, m := range r.Interface {
		out["interface."+m.Field] = event.Change{
			Op: drift.OpInterface, Before: map[string]any{m.Field: m.Expected}, After: map[string]any{m.Field: m.Actual},
		}
	}
	for about, c := range out {
		c.Before, c.After = briefly(c.Before), briefly(c.After)
		out[about] = c
	}
	return out
}

// sumOf is a hash of what differs, to know the same drift again after a restart.
func sumOf(issues map[string]event.Change) string {
	sum := sha256.New()
	for _, about := range slices.Sorted(maps.Keys(issues)) {
		c := issues[about]
		fmt.Fprintln(sum, about, c.Op, text(c.Before), text(c.After))
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

func sameChange(a, b event.Change) bool {
	return a.Op == b.Op && text(a.Before) == text(b.Before) && text(a.After) == text(b.After)
}

// text is one spelling of a map: encoding/json sorts its keys.
func text(m map[string]any) string {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Sprint(m)
	}
	return string(b)
}
