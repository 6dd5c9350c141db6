package panel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/wgfleet/wgfleet/panel/drift"
)

// planParts are what a plan comes of, in the order in which a plan's id names them. Each has its own
// part of the id, so that a plan that no longer holds can be said to differ in this or that, though
// no plan is kept.
var planParts = []string{"the node or the options", "what the panel wants", "what is on the node", "the steps"}

// planID names a plan. AllowMassRemoval is not in it: it allows steps and changes none.
func planID(nodeID string, o ReconcileOptions, l look, p drift.Plan) string {
	var steps strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintln(&steps, s.Op, s.PublicKey, s.Takes)
	}
	for _, b := range p.Blocked {
		fmt.Fprintln(&steps, b.Op, b.PublicKey, b.Reason)
	}
	parts := []string{
		fmt.Sprintln(nodeID, o.Missing, o.Mismatched, o.RemoveUnknown, o.AdoptUnknown, o.Atomic),
		l.desired.Digest, l.observed.Digest, steps.String(),
	}
	for i, part := range parts {
		sum := sha256.Sum256([]byte(part))
		parts[i] = hex.EncodeToString(sum[:8])
	}
	return strings.Join(parts, "-")
}

// samePlan refuses a plan that is not the one that was agreed to, and says what changed.
func samePlan(agreed, now string) error {
	if agreed == now {
		return nil
	}
	old, current := strings.Split(agreed, "-"), strings.Split(now, "-")
	if len(old) != len(current) {
		return conflictf("plan_id is no plan of this panel: ask for one with dry_run")
	}
	var changed []string
	for i, part := range planParts {
		if old[i] != current[i] {
			changed = append(changed, part)
		}
	}
	return conflictf("the plan does not hold any more: %s changed since; look at the new plan with dry_run",
		strings.Join(changed, ", "))
}
