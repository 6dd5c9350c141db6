package panel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
)

// Conditions of a node.
const (
	ConditionReachable   = "Reachable"   // its agent answers, and it is known that it is its own answer
	ConditionSynced      = "Synced"      // it is as the panel wants it
	ConditionHealthy     = "Healthy"     // nothing stands in the way of keeping it so
	ConditionClockInSync = "ClockInSync" // its clock is close to the panel's

	// maxSkew is how far the clocks may differ before ClockInSync turns false: long before
	// requests are refused.
	maxSkew = 30 * time.Second
)

// note keeps the outcome of a test.
func (s *Service) note(ctx context.Context, n Node, t NodeTest, err error) {
	s.contacted(ctx, n, err, func(st *NodeStatus) []Condition {
		if err == nil {
			st.Version = t.Version
		}
		return []Condition{clockCondition(t)}
	})
	if err == nil && s.health.of(n.ID).Drift == "" {
		s.keepers.kick(n.ID) // it answers again: how it is, a look tells
	}
}

// contacted keeps the outcome of a contact of any kind; more keeps what only this kind tells, and
// returns the conditions that it judges.
func (s *Service) contacted(ctx context.Context, n Node, err error, more func(*NodeStatus) []Condition) {
	now := s.now()
	s.judge(ctx, n, func(st *NodeStatus) []Condition {
		was := st.Health
		judged := []Condition{reachableCondition(err)}
		st.Health, st.Error = HealthOffline, ""
		if judged[0].Status == "True" {
			st.Health, st.LastSeen = HealthOnline, now
		}
		if err != nil {
			st.Error, st.Drift = err.Error(), "" // what was seen before is not known now
			judged = append(judged, syncedCondition(drift.NotKnown(reasonOf(err))))
		}
		if was != "" && was != st.Health {
			s.o.Logger.Info("a node's health changed", "node", n.ID, "name", n.Name, "health", st.Health, "error", st.Error)
		}
		return append(judged, more(st)...)
	})
}

// judge lets edit change a node's status and sets the conditions that it returns, and those that
// follow from them. What changed is told and remembered.
func (s *Service) judge(ctx context.Context, n Node, edit func(*NodeStatus) []Condition) {
	known := s.recall(ctx, n.ID)
	now := s.now()
	var changed []transition
	s.health.change(n.ID, func(st *NodeStatus) {
		conditions := edit(st)
		for _, c := range conditions {
			changed = append(changed, st.set(c, n.Revision, now, known)...)
		}
		changed = append(changed, st.set(st.healthy(), n.Revision, now, known)...)
	})
	if len(changed) == 0 {
		return
	}
	s.remember(ctx, n.ID, func(m *memory) {
		for _, t := range changed {
			m.Conditions[t.now.Type] = since{Status: t.now.Status, Since: t.now.Since}
		}
	})
	for _, t := range changed {
		s.tellCondition(ctx, n, t)
	}
}

// transition is a condition whose status is another than it was.
type transition struct {
	was string // its status; "": it was never judged
	now Condition
}

// tellCondition leaves out what other events tell, and what is judged for the first time.
func (s *Service) tellCondition(ctx context.Context, n Node, t transition) {
	if t.was == "" || t.now.Type != ConditionReachable && t.now.Type != ConditionClockInSync {
		return
	}
	e := event.Event{
		Kind: event.ConditionChanged, Subject: t.now.Type, Severity: event.Info, From: t.was, To: t.now.Status, Revision: t.now.ObservedRevision,
		Message: fmt.Sprintf("%s is %s again", t.now.Type, t.now.Status),
	}
	if t.now.Status != "True" {
		e.Severity = event.Warning
		e.Message = fmt.Sprintf("%s is %s: %s", t.now.Type, t.now.Status, cmp.Or(t.now.Message, t.now.Reason))
	}
	s.tell(ctx, n, e)
}

// reachableCondition judges a contact. An agent that refuses in its own name is there, and so is one
// whose answer only the panel could not keep.
func reachableCondition(err error) Condition {
	c := Condition{Type: ConditionReachable, Status: "True", Reason: "Answered"}
	e, ok := errors.AsType[*NodeError](err)
	if !ok || e.answered {
		return c
	}
	c.Status, c.Reason, c.Message = "False", "NotUsable", e.Reason
	switch client.Kind(e.Code) {
	case client.Unreachable:
		c.Reason = "NoAnswer"
	case client.Unauthorized, client.NotAuthentic:
		c.Reason = "NotAuthenticated"
	}
	return c
}

func clockCondition(t NodeTest) Condition {
	c := Condition{Type: ConditionClockInSync, Status: "True", Reason: "Close"}
	switch {
	case !t.Reachable:
		c.Status, c.Reason = "Unknown", "NoAnswer"
	case t.ClockSkew.Abs() > maxSkew:
		c.Status, c.Reason = "False", "Off"
		c.Message = fmt.Sprintf("the agent's clock differs by %s", t.ClockSkew)
	}
	return c
}

// syncedCondition is the verdict of a look.
func syncedCondition(r drift.Report) Condition {
	c := Condition{Type: ConditionSynced, Status: "True", Reason: "InSync"}
	switch r.Status {
	case drift.Drifted:
		c.Status, c.Reason, c.Message = "False", "Drift", inShort(r)
	case drift.Unknown:
		c.Status, c.Reason, c.Message = "Unknown", "NotSeen", r.Error
	}
	return c
}

// unwatched are the conditions of a node that nobody looks at: of one that is disabled nothing is known, of one
// whose drift mode is off not whether it is as it should be.
func unwatched(conditions []Condition, enabled bool) []Condition {
	out := slices.Clone(conditions)
	for i := range out {
		switch {
		case !enabled:
			out[i].Status, out[i].Reason, out[i].Message = "Unknown", "Disabled", "the node is disabled: it is not contacted"
		case out[i].Type == ConditionSynced:
			out[i].Status, out[i].Reason, out[i].Message = "Unknown", "NotWatched", "the drift mode of the node is off: nobody looks"
		}
	}
	return out
}

// healthy follows from the other conditions: the first that is not true tells why not. Drift makes no node
// unhealthy: it can be put right. Where healing
// was given up, somebody must look.
func (s *NodeStatus) healthy() Condition {
	c := Condition{Type: ConditionHealthy, Status: "True", Reason: "AllWell"}
	for _, name := range []string{ConditionReachable, ConditionClockInSync} {
		if other, ok := s.condition(name); ok && other.Status != "True" {
			c.Status, c.Reason, c.Message = other.Status, name+other.Reason, other.Message
			return c
		}
	}
	if s.Stopped {
		c.Status, c.Reason, c.Message = "False", "HealingStopped", s.Healing
	}
	return c
}

func (s *NodeStatus) condition(name string) (Condition, bool) {
	for _, c := range s.Conditions {
		if c.Type == name {
			return c, true
		}
	}
	return Condition{}, false
}

// set replaces the condition of that type. Since stays where the status does, over a restart of the
// panel as well; where it does not, the transition is returned.
func (s *NodeStatus) set(c Condition, revision uint64, now time.Time, known memory) []transition {
	was := known.Conditions[c.Type]
	old, judged := s.condition(c.Type)
	if judged {
		was = since{Status: old.Status, Since: old.Since}
	}
	c.Since, c.ObservedRevision = was.Since, revision
	if was.Status != c.Status {
		c.Since = now
	}
	s.Conditions = slices.DeleteFunc(s.Conditions, func(other Condition) bool { return other.Type == c.Type })
	s.Conditions = append(s.Conditions, c)
	slices.SortFunc(s.Conditions, func(a, b Condition) int { return rank(a.Type) - rank(b.Type) })
	if was.Status == c.Status {
		return nil
	}
	return []transition{{was: was.Status, now: c}}
}

// rank is the order in which conditions are shown.
func rank(name string) int {
	return slices.Index([]string{ConditionReachable, ConditionSynced, ConditionHealthy, ConditionClockInSync}, name)
}
