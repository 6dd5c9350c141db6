package panel

import (
	"time"

	"github.com/wgfleet/wgfleet/panel/drift"
)

// ReconcileOptions says what a reconciliation may do.
type ReconcileOptions struct {
	Missing       bool // add missing peers
	Mismatched    bool // update mismatched peers
	PruneOrphaned bool // remove unknown peers that the panel once had on this node
	PruneForeign  bool // remove unknown peers that it does not know
	AdoptUnknown  bool // take unknown peers into the panel, untouched on the node
	Accept        bool // make what mismatched peers are on the node the panel's wish; with Interface, its settings too
	Interface     bool // put the settings of the interface right
	Atomic        bool // all changes of the node's peers or none
	DryRun        bool // only say what would be done
	// AllowMassRemoval prunes even more peers than the node's policy lets go at once.
	AllowMassRemoval bool
	// Only narrows the plan to these of its actions, see drift.Step.ID; nil: all of them.
	Only []string
	// PlanID, where not "", is the only plan that may be carried out, as Planned.PlanID named it. Its
	// options hold: others are refused, but AllowMassRemoval and Only are this call's. Where the plan holds
	// no more, ErrConflict says what changed since.
	PlanID string
}

// check refuses options that contradict each other.
func (o ReconcileOptions) check() error {
	switch {
	case o.AdoptUnknown && o.prunes():
		return Invalid("adopt_unknown", "excludes removing unknown peers: they are removed, or kept")
	case o.Accept && o.Mismatched:
		return Invalid("accept_mismatched", "excludes reconcile_mismatched: the node is put right, or the panel's wish is")
	}
	return nil
}

// prunes reports whether any peer may be removed.
func (o ReconcileOptions) prunes() bool { return o.PruneOrphaned || o.PruneForeign }

// plan is what of the options makes a plan.
func (o ReconcileOptions) plan() ReconcileOptions {
	o.DryRun, o.AllowMassRemoval, o.Only, o.PlanID = false, false, nil, ""
	return o
}

// chosen reports whether the caller named any option that makes a plan.
func (o ReconcileOptions) chosen() bool {
	o = o.plan()
	return o.Missing || o.Mismatched || o.prunes() || o.AdoptUnknown || o.Accept || o.Interface || o.Atomic
}

// Planned is a plan that was made for one node: what was seen, what is wanted, and the way from one to
// the other.
type Planned struct {
	PlanID          string
	NodeID          string
	ObservedDigest  string // of the node's peers
	DesiredDigest   string
	DesiredRevision uint64
	Plan            drift.Plan
	ExpiresAt       time.Time // the plan is not carried out any more then
}

// ReconcileResult says what was done and what is left. Public keys, never nil.
type ReconcileResult struct {
	Planned
	Added     []string
	Updated   []string
	Removed   []string
	Adopted   []string
	Accepted  []string // ids of steps: public keys, and settings of the interface
	Interface []string // fields of the interface's settings that were written
	Errors    []ReconcileError
	Verified  bool         // every action asked for was read back and nothing else changed
	Residual  drift.Report // what still differs
	DryRun    bool
}

// ReconcileError is one action that failed; the others went on.
type ReconcileError struct {
	Peer   string // or interface.FIELD
	Action string // add, update, remove, adopt, accept, interface
	Error  string
}
