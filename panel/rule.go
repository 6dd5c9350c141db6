package panel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"time"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// Limits of rules.
const (
	maxRules  = 1000
	maxReason = 500 // characters
)

// Rule says what is done about some unknown peers, of one node or of all.
type Rule struct {
	drift.Rule
	NodeID    string // "": of all nodes
	CreatedAt time.Time
	UpdatedAt time.Time
}

// RuleInput makes a rule; nil fields are not given. It also changes one: nil leaves a field as it is. One of
// PublicKey, AllowedIPs and Name chooses the peers, and given takes the place of another one.
type RuleInput struct {
	NodeID     Optional[string]
	Action     *string
	PublicKey  *string
	AllowedIPs *string // a prefix
	Name       *string // a pattern of path.Match
	Until      Optional[time.Time]
	Reason     *string
}

func (in RuleInput) apply(r *Rule, now time.Time) error {
	var p problems
	if in.NodeID.Set {
		r.NodeID = ""
		if v := in.NodeID.Value; v != nil {
			r.NodeID = *v
		}
	}
	if in.Action != nil {
		r.Action = *in.Action
	}
	if r.Action != drift.Ignore && r.Action != drift.Protect {
		p.add("action", "%q is none: expected %s or %s", clip(r.Action), drift.Ignore, drift.Protect)
	}
	in.choose(r, &p)
	if in.Until.Set {
		r.Until = time.Time{}
		if v := in.Until.Value; v != nil {
			r.Until = v.UTC().Truncate(time.Second)
			if !r.Until.After(now) {
				p.add("until", "lies in the past: expected a time to come, or null for no end")
			}
		}
	}
	if in.Reason != nil {
		r.Reason = p.sentence("reason", *in.Reason, maxReason)
	}
	return p.err()
}

// choose reads which peers the rule is about.
func (in RuleInput) choose(r *Rule, p *problems) {
	given := 0
	for _, v := range []*string{in.PublicKey, in.AllowedIPs, in.Name} {
		if v != nil {
			given++
		}
	}
	switch {
	case given == 0 && r.PublicKey == nil && r.Prefix == nil && r.Name == "":
		p.add("public_key", "no peer is chosen: expected one of public_key, allowed_ips and name")
		return
	case given > 1:
		p.add("public_key", "the rule chooses twice: expected one of public_key, allowed_ips and name")
		return
	case given == 0:
		return
	}
	r.PublicKey, r.Prefix, r.Name = nil, nil, ""
	switch {
	case in.PublicKey != nil:
		key, err := engine.ParseKey(*in.PublicKey)
		if err != nil {
			p.add("public_key", "%v", err)
		}
		r.PublicKey = &key
	case in.AllowedIPs != nil:
		prefix, err := engine.ParsePrefix(*in.AllowedIPs)
		if err != nil {
			p.add("allowed_ips", "%v", err)
		}
		r.Prefix = &prefix
	default:
		r.Name = p.sentence("name", *in.Name, maxName)
		if _, err := path.Match(r.Name, ""); err != nil || r.Name == "" {
			p.add("name", `%q is no pattern: expected a name, in which * and ? stand for others, for example "guest-*"`, clip(*in.Name))
		}
	}
}

// ruleRecord is a Rule at rest.
type ruleRecord struct {
	NodeID     string        `json:"node_id,omitempty"`
	Action     string        `json:"action"`
	PublicKey  []byte        `json:"public_key,omitempty"`
	AllowedIPs *netip.Prefix `json:"allowed_ips,omitempty"`
	Name       string        `json:"name,omitempty"`
	Until      time.Time     `json:"until,omitzero"`
	Reason     string        `json:"reason,omitempty"`
	CreatedAt  time.Time     `json:"created_at"`
	UpdatedAt  time.Time     `json:"updated_at"`
}

var ruleTable = store.NewTable[ruleRecord]("rule")

func recordOfRule(r Rule) ruleRecord {
	rec := ruleRecord{
		NodeID: r.NodeID, Action: r.Action, AllowedIPs: r.Prefix, Name: r.Name, Until: r.Until, Reason: r.Reason,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if r.PublicKey != nil {
		rec.PublicKey = r.PublicKey[:]
	}
	return rec
}

func (rec ruleRecord) rule(id string) Rule {
	r := Rule{
		Rule:   drift.Rule{ID: id, Action: rec.Action, Prefix: rec.AllowedIPs, Name: rec.Name, Until: rec.Until, Reason: rec.Reason},
		NodeID: rec.NodeID, CreatedAt: rec.CreatedAt, UpdatedAt: rec.UpdatedAt,
	}
	if rec.PublicKey != nil {
		r.PublicKey = new(keyOf(rec.PublicKey))
	}
	return r
}

func getRule(tx store.Tx, id string) (Rule, error) {
	rec, err := ruleTable.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
		return Rule{}, notFoundf("there is no rule %q", clip(id))
	}
	return rec.rule(id), err
}

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
	return s.writeRule(ctx, "made", func(tx store.Tx) (Rule, error) {
		count := 0
		for _, err := range ruleTable.IDs(tx, "") {
			if err != nil {
				return Rule{}, err
			}
			count++
		}
		if count >= maxRules {
			return Rule{}, conflictf("there are %d rules, as many as there may be: delete some first", maxRules)
		}
		r := Rule{CreatedAt: now}
		r.ID = id
		return r, in.apply(&r, now)
	})
}

// UpdateRule changes what the input names.
func (s *Service) UpdateRule(ctx context.Context, id string, in RuleInput) (Rule, error) {
	return s.writeRule(ctx, "changed", func(tx store.Tx) (Rule, error) {
		r, err := getRule(tx, id)
		if err != nil {
			return r, err
		}
		return r, in.apply(&r, s.now())
	})
}

func (s *Service) writeRule(ctx context.Context, verb string, build func(tx store.Tx) (Rule, error)) (Rule, error) {
	var r Rule
	var n Node
	err := s.o.Store.Update(ctx, func(tx store.Tx) (err error) {
		if r, err = build(tx); err != nil {
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
	s.ruleChanged(ctx, n, r, verb)
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
	s.ruleChanged(ctx, n, r, "deleted")
	return nil
}

// ruleChanged makes the next look read the rules again, and tells of the change.
func (s *Service) ruleChanged(ctx context.Context, n Node, r Rule, verb string) {
	s.rules.forget()
	message := fmt.Sprintf("a rule was %s: %s unknown peers of %s", verb, r.Action, r.about())
	if r.Reason != "" {
		message += ": " + r.Reason
	}
	s.tell(ctx, n, event.Event{Kind: event.RuleChanged, Severity: event.Info, Message: message})
}

// about says which peers the rule is about.
func (r Rule) about() string {
	switch {
	case r.PublicKey != nil:
		return "key " + r.PublicKey.String()
	case r.Prefix != nil:
		return "addresses in " + r.Prefix.String()
	}
	return "name " + r.Name
}

// forgetRules drops the rules of a node that goes.
func forgetRules(tx store.Tx, nodeID string) error {
	var doomed []string
	for row, err := range ruleTable.All(tx, "") {
		if err != nil {
			return err
		}
		if row.Value.NodeID == nodeID {
			doomed = append(doomed, row.ID)
		}
	}
	var errs []error
	for _, id := range doomed {
		errs = append(errs, ruleTable.Delete(tx, id))
	}
	return errors.Join(errs...)
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
