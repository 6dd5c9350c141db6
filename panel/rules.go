package panel

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// Rules lists the rules in the order of their making.
func (s *Service) Rules(ctx context.Context, p Page) (rules []Rule, next string, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		rules, next = []Rule{}, ""
		for row, err := range ruleTable.All(tx, p.Cursor) {
			if err != nil {
				return err
			}
			if p.Limit > 0 && len(rules) == p.Limit {
				next = rules[p.Limit-1].ID
				return nil
			}
			rules = append(rules, row.Value.rule(row.ID))
		}
		return nil
	})
	return rules, next, pageError(err)
}

// Rule returns one rule.
func (s *Service) Rule(ctx context.Context, id string) (r Rule, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		r, err = getRule(tx, id)
		return err
	})
	return r, err
}

// CreateRule adds a rule. What the panel thinks of a node follows at the next look at it.
func (s *Service) CreateRule(ctx context.Context, in RuleInput) (Rule, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return Rule{}, err
	}
	return s.writeRule(ctx, "made", func(tx store.Tx) (*Rule, Rule, error) {
		count := 0
		for _, err := range ruleTable.IDs(tx, "") {
			if err != nil {
				return nil, Rule{}, err
			}
			count++
		}
		if count >= maxRules {
			return nil, Rule{}, conflictf("there are %d rules, as many as there may be: delete some first", maxRules)
		}
		r := Rule{CreatedAt: now}
		r.ID = id
		err := in.apply(&r, now)
		return nil, r, err
	})
}

// UpdateRule changes what the input names.
func (s *Service) UpdateRule(ctx context.Context, id string, in RuleInput) (Rule, error) {
	return s.writeRule(ctx, "changed", func(tx store.Tx) (*Rule, Rule, error) {
		r, err := getRule(tx, id)
		if err != nil {
			return nil, r, err
		}
		was := r
		err = in.apply(&r, s.now())
		return &was, r, err
	})
}

// writeRule keeps the rule that build makes of the one that was; nil: there was none.
func (s *Service) writeRule(ctx context.Context, verb string, build func(tx store.Tx) (was *Rule, r Rule, err error)) (Rule, error) {
	var was *Rule
	var r Rule
	var n Node
	err := s.o.Store.Update(ctx, func(tx store.Tx) (err error) {
		if was, r, err = build(tx); err != nil {
			return err
		}
		if n, err = nodeOfRule(tx, r); err != nil {
			return err
		}
		r.UpdatedAt = s.now()
		return ruleTable.Put(tx, r.ID, recordOfRule(r))
	})
	if err != nil {
		return Rule{}, err
	}
	s.ruleChanged(ctx, n, was, &r, verb)
	return r, nil
}

// nodeOfRule is the rule's node; the zero Node for all.
func nodeOfRule(tx store.Tx, r Rule) (Node, error) {
	if r.NodeID == "" {
		return Node{}, nil
	}
	rec, err := getNode(tx, r.NodeID)
	if errors.Is(err, ErrNotFound) {
		return Node{}, Invalid("node_id", "%v", err)
	}
	return rec.node(r.NodeID, nil), err
}

// DeleteRule ends a rule.
func (s *Service) DeleteRule(ctx context.Context, id string) error {
	var r Rule
	var n Node
	err := s.o.Store.Update(ctx, func(tx store.Tx) (err error) {
		if r, err = getRule(tx, id); err != nil {
			return err
		}
		if n, err = nodeOfRule(tx, r); err != nil {
			n = Node{}
		}
		return ruleTable.Delete(tx, id)
	})
	if err != nil {
		return err
	}
	s.ruleChanged(ctx, n, &r, nil, "deleted")
	return nil
}

// ruleChanged makes the next look read the rules again, and tells of the change.
func (s *Service) ruleChanged(ctx context.Context, n Node, before, after *Rule, verb string) {
	s.rules.forget()
	r := cmp.Or(after, before)
	for _, is := range []*Rule{before, after} {
		switch {
		case is == nil:
		case is.NodeID == "":
			s.keepers.kickAll()
		default:
			s.keepers.kick(is.NodeID)
		}
	}
	message := fmt.Sprintf("a rule was %s: %s unknown peers of %s", verb, r.Action, r.about())
	if r.Reason != "" {
		message += ": " + r.Reason
	}
	s.tell(ctx, n, event.Event{
		Kind: event.RuleChanged, Severity: event.Info, Message: message,
		Changes: []event.Change{{Op: "rule", Name: r.ID, Before: before.fields(), After: after.fields(), Outcome: event.Done}},
	})
}

// rulesFor returns the rules in force for a node.
func (s *Service) rulesFor(ctx context.Context, nodeID string) ([]drift.Rule, error) {
	all, version := s.rules.get()
	if all == nil {
		list, _, err := s.Rules(ctx, Page{})
		if err != nil {
			return nil, err
		}
		all = &list
		s.rules.put(all, version)
	}
	now := s.o.Now()
	var out []drift.Rule
	for _, r := range *all {
		if (r.NodeID == "" || r.NodeID == nodeID) && r.InForce(now) {
			out = append(out, r.Rule)
		}
	}
	return out, nil
}
