package panel

import "github.com/wgfleet/wgfleet/panel/drift"

// ReconcileOptions says what a reconciliation may do.
type ReconcileOptions struct {
	Missing          bool // add missing peers
	Mismatched       bool // update mismatched peers
	RemoveUnknown    bool // prune peers that the panel does not know
	AdoptUnknown     bool // take unknown peers into the panel, untouched on the node
	Atomic           bool // all or nothing
	DryRun           bool // only say what would be done
	AllowMassRemoval bool // prune even more than half of the peers
	// PlanID, where not "", is the only plan that may be carried out: ReconcileResult.PlanID of a
	// call before. Where another one would be, ErrConflict says what changed.
	PlanID string
}

// ReconcileResult says what was done and what is left. Public keys, never nil.
type ReconcileResult struct {
	Added    []string
	Updated  []string
	Removed  []string
	Adopted  []string
	Errors   []ReconcileError
	Verified bool         // every action asked for was read back and nothing else changed
	Residual drift.Report // what still differs
	Plan     drift.Plan   // what was to be done
	PlanID   string       // names Plan: it changes with the options, the peers of either side and the steps
	DryRun   bool
}

// ReconcileError is one action that failed; the others went on.
type ReconcileError struct {
	Peer   string
	Action string // add, update, remove, adopt
	Error  string
}
