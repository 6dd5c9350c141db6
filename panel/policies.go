package panel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/policy"
	"github.com/wgfleet/wgfleet/store"
)

// PolicyInput changes a policy; a field that is cleared has the default's value again: a node's the fleet's,
// the fleet's policy.Default's.
type PolicyInput struct {
	Mode             Optional[string]
	Interval         Optional[time.Duration]
	Missing          Optional[bool]
	Mismatched       Optional[bool]
	PruneOrphaned    Optional[bool]
	PruneForeign     Optional[bool]
	Interface        Optional[bool]
	MaxDeletePercent Optional[int]
	Windows          Optional[[]policy.Window]
	SuspendedUntil   Optional[time.Time]
}

// apply changes p as the input says; the problems name the fields with the prefix before them.
func (in PolicyInput) apply(p policy.Input, prefix string, bad *problems) policy.Input {
	change(&p.Mode, convertOptional(in.Mode, func(s string) policy.Mode { return policy.Mode(s) }))
	change(&p.Interval, in.Interval)
	change(&p.Missing, in.Missing)
	change(&p.Mismatched, in.Mismatched)
	change(&p.PruneOrphaned, in.PruneOrphaned)
	change(&p.PruneForeign, in.PruneForeign)
	change(&p.Interface, in.Interface)
	change(&p.MaxDeletePercent, in.MaxDeletePercent)
	change(&p.Windows, in.Windows)
	change(&p.SuspendedUntil, in.SuspendedUntil)
	p, wrong := p.Validate()
	for _, w := range wrong {
		bad.add(prefix+w.Field, "%s", w.Error)
	}
	return p
}

func change[T any](to **T, by Optional[T]) {
	if by.Set {
		*to = by.Value
	}
}

func convertOptional[A, B any](o Optional[A], f func(A) B) Optional[B] {
	out := Optional[B]{Set: o.Set}
	if o.Value != nil {
		out.Value = new(f(*o.Value))
	}
	return out
}

// policyRecord is a policy.Input at rest.
type policyRecord struct {
	Mode             *policy.Mode    `json:"mode,omitempty"`
	Interval         *time.Duration  `json:"interval,omitempty"` // nanoseconds
	Missing          *bool           `json:"missing,omitempty"`
	Mismatched       *bool           `json:"mismatched,omitempty"`
	PruneOrphaned    *bool           `json:"prune_orphaned,omitempty"`
	PruneForeign     *bool           `json:"prune_foreign,omitempty"`
	Interface        *bool           `json:"interface,omitempty"`
	MaxDeletePercent *int            `json:"max_delete_percent,omitempty"`
	Windows          *[]windowRecord `json:"windows,omitempty"`
	SuspendedUntil   *time.Time      `json:"suspended_until,omitempty"`
}

type windowRecord struct {
	Cron     string        `json:"cron"`
	Duration time.Duration `json:"duration"` // nanoseconds
	TimeZone string        `json:"time_zone"`
}

// policyTable has the fleet's policy under one id.
var policyTable = store.NewTable[policyRecord]("policy")

const fleetPolicy = "fleet"

func recordOfPolicy(p policy.Input) policyRecord {
	r := policyRecord{
		Mode: p.Mode, Interval: p.Interval, Missing: p.Missing, Mismatched: p.Mismatched, PruneOrphaned: p.PruneOrphaned,
		PruneForeign: p.PruneForeign, Interface: p.Interface, MaxDeletePercent: p.MaxDeletePercent, SuspendedUntil: p.SuspendedUntil,
	}
	if p.Windows != nil {
		list := make([]windowRecord, len(*p.Windows))
		for i, w := range *p.Windows {
			list[i] = windowRecord(w)
		}
		r.Windows = &list
	}
	return r
}

func (r policyRecord) input() policy.Input {
	p := policy.Input{
		Mode: r.Mode, Interval: r.Interval, Missing: r.Missing, Mismatched: r.Mismatched, PruneOrphaned: r.PruneOrphaned,
		PruneForeign: r.PruneForeign, Interface: r.Interface, MaxDeletePercent: r.MaxDeletePercent, SuspendedUntil: r.SuspendedUntil,
	}
	if r.Windows != nil {
		list := make([]policy.Window, len(*r.Windows))
		for i, w := range *r.Windows {
			list[i] = policy.Window(w)
		}
		p.Windows = &list
	}
	return p
}

func getFleetPolicy(tx store.Tx) (policy.Input, error) {
	r, err := policyTable.Get(tx, fleetPolicy)
	if errors.Is(err, store.ErrNotFound) {
		return policy.Input{}, nil
	}
	return r.input(), err
}

// FleetPolicy is what somebody said of all nodes; a node's own fields win over it.
func (s *Service) FleetPolicy(ctx context.Context) (policy.Input, error) {
	known, version := s.policy.get()
	if known != nil {
		return *known, nil
	}
	var p policy.Input
	err := s.o.Store.View(ctx, func(tx store.Tx) (err error) {
		p, err = getFleetPolicy(tx)
		return err
	})
	if err == nil {
		s.policy.put(&p, version)
	}
	return p, err
}

// ChangeFleetPolicy changes what the input names.
func (s *Service) ChangeFleetPolicy(ctx context.Context, in PolicyInput) (policy.Input, error) {
	var was, p policy.Input
	err := s.o.Store.Update(ctx, func(tx store.Tx) (err error) {
		if was, err = getFleetPolicy(tx); err != nil {
			return err
		}
		var bad problems
		p = in.apply(was, "", &bad)
		if err := bad.err(); err != nil {
			return err
		}
		return policyTable.Put(tx, fleetPolicy, recordOfPolicy(p))
	})
	if err != nil {
		return p, err
	}
	s.policy.forget()
	s.keepers.kickAll()
	s.tell(ctx, Node{}, event.Event{
		Kind: event.PolicyChanged, Severity: event.Info, Message: "the policy of all nodes was changed",
		Changes: []event.Change{{Op: "policy", Before: policyFields(was), After: policyFields(p), Outcome: event.Done}},
	})
	return p, nil
}

// policyOf is all that holds for a node.
func (s *Service) policyOf(ctx context.Context, n Node) (policy.Policy, error) {
	fleet, err := s.FleetPolicy(ctx)
	return policy.Default().Merge(fleet).Merge(n.Drift), err
}

// policyFields are what somebody said of a policy, by the names of the API.
func policyFields(p policy.Input) map[string]any {
	out := make(map[string]any)
	keep(out, "mode", p.Mode)
	keep(out, "missing", p.Missing)
	keep(out, "mismatched", p.Mismatched)
	keep(out, "prune_orphaned", p.PruneOrphaned)
	keep(out, "prune_foreign", p.PruneForeign)
	keep(out, "interface", p.Interface)
	keep(out, "max_delete_percent", p.MaxDeletePercent)
	keep(out, "suspended_until", p.SuspendedUntil)
	if p.Interval != nil {
		out["interval"] = p.Interval.String()
	}
	if p.Windows != nil {
		windows := make([]string, len(*p.Windows))
		for i, w := range *p.Windows {
			windows[i] = fmt.Sprintf("%s for %s, %s", w.Cron, w.Duration, w.TimeZone)
		}
		out["windows"] = windows
	}
	return out
}

// keep notes a value that is given.
func keep[T any](out map[string]any, name string, v *T) {
	if v != nil {
		out[name] = *v
	}
}
