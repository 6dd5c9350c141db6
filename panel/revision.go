package panel

import (
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Revision is one change of a node's desired state: of the node's own fields, of its peers, or of both.
type Revision struct {
	Number  uint64
	At      time.Time
	Actor   event.Actor
	Summary string   // one sentence
	Fields  []string // of the node that changed, by the API's names; those as well that no rollback restores
	Added   int      // peers
	Updated int
	Removed int
}

// RevisionState is a node's desired state as it was at a revision. Of the node it holds what revisions
// keep; how its agent is reached and what was learnt of it is as it is now.
type RevisionState struct {
	Revision
	Node  Node
	Peers []PeerView // in the order of their making
}

// FieldChange is one field that differs. Of a key only whether it is set, unset or different.
type FieldChange struct {
	Field  string // by the API's name; of the interface as interface.FIELD
	Before any    // nil: none
	After  any
}

// Ops of a PeerDiff.
const (
	PeerAdded   = "add"
	PeerUpdated = "update"
	PeerRemoved = "remove"
)

// PeerDiff is a peer that differs between two revisions.
type PeerDiff struct {
	Op        string
	PeerID    string
	PublicKey string
	Name      string
	Changes   []FieldChange
}

// RevisionDiff is what leads from one revision of a node to another one.
type RevisionDiff struct {
	From, To uint64
	Node     []FieldChange
	Peers    []PeerDiff // in the order of their making
}

// empty reports whether nothing differs.
func (d RevisionDiff) empty() bool { return len(d.Node)+len(d.Peers) == 0 }

// Rollback is a plan that makes a node's desired state what it was, or what came of it. It writes
// nothing to the node.
type Rollback struct {
	PlanID    string
	NodeID    string
	From, To  uint64 // the present revision when it was planned, and the one to go back to
	Diff      RevisionDiff
	Warnings  []string
	ExpiresAt time.Time // of the plan
	Done      bool
	Revision  uint64 // of the node now; From where it is not done, or nothing differed
}
