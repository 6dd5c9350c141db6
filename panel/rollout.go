package panel

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
)

// States of a Rollout.
const (
	RolloutRunning   = "running"
	RolloutSucceeded = "succeeded" // each node was put right, and that was read back
	RolloutFailed    = "failed"    // one was not: those that had not begun by then were left as they are
	RolloutCancelled = "cancelled" // by somebody, or since the panel stopped
)

// States of a node in a Rollout.
const (
	NodeWaiting = "waiting"
	NodeRunning = "running"
	NodeDone    = "done" // all of it was verified
	NodeFailed  = "failed"
	NodeSkipped = "skipped"
)

// Limits of rollouts.
const (
	DefaultMaxParallel = 8 // nodes of a rollout that are written to at the same time
	maxMaxParallel     = 64
	maxRollouts        = 8  // that run
	keptRollouts       = 50 // those that ended, in memory
)

// RolloutInput says which nodes are reconciled, and how.
type RolloutInput struct {
	Options ReconcileOptions
	// NodeIDs, GroupID and Plans choose the nodes: one of them, or none for all that are enabled. Plans are
	// carried out as they were shown, or not at all.
	NodeIDs []string
	GroupID string
	Plans   []RolloutPlan
	// Waves say how many nodes are done before others begin, see splitWaves; none: all in one.
	Waves       []string
	MaxParallel int // 0: DefaultMaxParallel
}

// RolloutPlan is the plan of one node.
type RolloutPlan struct {
	NodeID string
	PlanID string
	Only   []string // nil: all of it
}

// Rollout is the reconciliation of several nodes, wave after wave. It stops where one fails.
type Rollout struct {
	ID          string
	State       string
	Actor       event.Actor
	MaxParallel int
	Waves       []int // nodes in each
	Nodes       []RolloutNode
	StartedAt   time.Time
	EndedAt     time.Time // zero: it runs
}

// RolloutNode is one node of a Rollout.
type RolloutNode struct {
	NodeID   string
	NodeName string
	Wave     int // from 1
	State    string
	Message  string           // what was done, or why it was not
	Result   *ReconcileResult // nil: it did not come to one
}

// Count is how many nodes are in a state.
func (r Rollout) Count(state string) int {
	n := 0
	for _, node := range r.Nodes {
		if node.State == state {
			n++
		}
	}
	return n
}

// rolloutPlan is a plan that was agreed to. It is kept here: a rollout may take longer than plans are kept.
type rolloutPlan struct {
	agreed  *agreement
	options ReconcileOptions
}

// rollout is a Rollout at work.
type rollout struct {
	options ReconcileOptions
	plans   map[string]rolloutPlan // by node; empty: each node's is made when its turn comes
	ctx     context.Context        //nolint:containedctx // of who asked, without an end: it says who that is
	cancel  chan struct{}          // closed to have it stop
	once    sync.Once

	mu      sync.Mutex // protects what follows
	state   Rollout
	changed chan struct{} // closed, and made anew, with each change
}

func (r *rollout) snapshot() (Rollout, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.state
	out.Nodes = slices.Clone(out.Nodes)
	return out, r.changed
}

func (r *rollout) change(edit func(*Rollout)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit(&r.state)
	close(r.changed)
	r.changed = make(chan struct{})
}

// summary is one line on how the rollout stands.
func (r Rollout) summary() string {
	return fmt.Sprintf("%d of %d nodes done, %d failed, %d skipped", r.Count(NodeDone), len(r.Nodes), r.Count(NodeFailed), r.Count(NodeSkipped))
}
