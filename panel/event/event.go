package event

import (
	"slices"
	"time"
)

// Kind says what happened. Kinds are stable: scripts and rules of notification name them.
type Kind string

// The kinds of events.
const (
	DriftChanged     Kind = "drift.changed"      // a check's verdict is another than the one before
	PlanMade         Kind = "plan.made"          // somebody was shown a plan
	Reconciled       Kind = "reconcile.finished" // a plan was carried out, wholly or in part, or failed
	ConditionChanged Kind = "condition.changed"  // a condition of a node is another
	PolicyChanged    Kind = "policy.changed"     // somebody said otherwise how nodes are watched and healed
	HealingStopped   Kind = "healing.stopped"    // healing did not help, and was given up
	RolloutStarted   Kind = "rollout.started"    // several nodes are reconciled, wave after wave
	RolloutFinished  Kind = "rollout.finished"
	RuleChanged      Kind = "rule.changed" // somebody said otherwise which unknown peers are left alone
	// NotificationFailed: what somebody wanted to be told was not, and will not be.
	NotificationFailed Kind = "notification.failed"
	DesiredChanged     Kind = "desired.changed" // somebody changed what the panel wants of a node
	PeerExpired        Kind = "peer.expired"    // a peer's time came
	BackupMade         Kind = "backup.made"     // somebody took all that the panel keeps, secrets included
	BackupRestored     Kind = "backup.restored" // the panel's records are those of a backup
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		DriftChanged, PlanMade, Reconciled, ConditionChanged, RuleChanged, PolicyChanged, HealingStopped, RolloutStarted, RolloutFinished,
		NotificationFailed, DesiredChanged, PeerExpired, BackupMade, BackupRestored,
	}
}

// Severity ranks events for those who want to be told of few.
type Severity string

// The severities, the lowest first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severities are all of them, the lowest first.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// Rank orders severities; one that is not known is 0, below all others.
func (s Severity) Rank() int {
	return slices.Index(Severities(), s) + 1
}

// Event is one thing that happened.
type Event struct {
	ID       string // a UUID of version 7; the Log sets it
	At       time.Time
	Kind     Kind
	Severity Severity
	NodeID   string // "" for what concerns no single node
	NodeName string // as it was then
	GroupID  string // that the node was in then; "" for none
	Actor    Actor
	Subject  string // the name of a condition; "" elsewhere
	Message  string // one sentence for people
	From, To string // of a verdict or a condition; "" elsewhere
	PlanID   string
	Revision uint64 // of the node's desired state that this is about; 0: of none
	Changes  []Change
}

// Outcomes of a Change.
const (
	Planned  = "planned"
	Done     = "done"
	Failed   = "failed"
	Appeared = "appeared" // a difference that was not there before
	Resolved = "resolved" // a difference that is gone
)

// OpNode is the op of a change of the node's own fields.
const OpNode = "node"

// Change is one peer, or one setting of the interface, within an Event.
type Change struct {
	Op      string         // add, update, remove, adopt, accept, interface, node, policy or rule; of drift: missing, mismatched, orphaned, foreign or interface
	Peer    string         // public key; "" for the interface and the node
	Name    string         // of the peer, where it has one
	Before  map[string]any // by the names of the API's fields; nil: it was not there
	After   map[string]any // nil: it is not there
	Outcome string
	Error   string // why it failed, one sentence
}
