package panel

import (
	"errors"
	"net/netip"
	"time"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

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
