package panel

import (
	"path"
	"time"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
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

// fields are the rule by the names of the API; nil of none.
func (r *Rule) fields() map[string]any {
	if r == nil {
		return nil
	}
	out := map[string]any{"action": r.Action, "peers": r.about(), "reason": r.Reason}
	if r.NodeID != "" {
		out["node_id"] = r.NodeID
	}
	if !r.Until.IsZero() {
		out["until"] = r.Until
	}
	return out
}
