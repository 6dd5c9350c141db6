package panelclient

import "time"

// Revision is one change of what the panel wants of a node.
type Revision struct {
	Revision     uint64    `json:"revision"`
	At           time.Time `json:"at"`
	Actor        Actor     `json:"actor"`
	Summary      string    `json:"summary"`
	PeersAdded   int       `json:"peers_added"`
	PeersUpdated int       `json:"peers_updated"`
	PeersRemoved int       `json:"peers_removed"`
}

// RevisionDiff is what leads from one revision to another.
type RevisionDiff struct {
	From  uint64        `json:"from"`
	To    uint64        `json:"to"`
	Node  []FieldChange `json:"node"`
	Peers []PeerDiff    `json:"peers"`
}

// FieldChange is one field that differs.
type FieldChange struct {
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// PeerDiff is one peer that differs.
type PeerDiff struct {
	Op        string        `json:"op"` // add, update or remove
	PeerID    string        `json:"peer_id"`
	PublicKey string        `json:"public_key"`
	Name      string        `json:"name"`
	Changes   []FieldChange `json:"changes"`
}

// Rollback is a plan to go back to a revision, or what came of it.
type Rollback struct {
	PlanID   string       `json:"plan_id"`
	From     uint64       `json:"from_revision"`
	To       uint64       `json:"to_revision"`
	Diff     RevisionDiff `json:"diff"`
	Warnings []string     `json:"warnings"`
	Done     bool         `json:"done"`
	Revision uint64       `json:"revision"` // of the node now
}
