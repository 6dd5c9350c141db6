package panelclient

import (
	"encoding/json"
	"time"
)

// Node is what tables show of a node.
type Node struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	AgentURL    string     `json:"agent_url"`
	WGInterface string     `json:"wg_interface"`
	Endpoint    string     `json:"endpoint"`
	IPPoolCIDR  string     `json:"ip_pool_cidr"`
	Enabled     bool       `json:"enabled"`
	Weight      int        `json:"weight"`
	MaxPeers    int        `json:"max_peers"`
	PeerCount   int        `json:"peer_count"`
	IsPanelNode bool       `json:"is_panel_node"`
	LastSeen    *time.Time `json:"last_seen"`
	Health      string     `json:"health"`
	GroupID     *string    `json:"group_id"`
	Secret      string     `json:"secret"` // only in the answer of a creation that made it
}

// Peer is what tables show of a peer.
type Peer struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	NodeID        string   `json:"node_id"`
	Interface     string   `json:"interface"`
	PublicKey     string   `json:"public_key"`
	HasPrivateKey bool     `json:"has_private_key"`
	AllowedIPs    []string `json:"allowed_ips"`
	Enabled       bool     `json:"enabled"`
	Expired       bool     `json:"expired"`
	// ConfigStale: the client's file was fetched once, and it would be another now.
	ConfigStale bool     `json:"client_config_stale"`
	Warnings    []string `json:"warnings"`
}

// State is whether the peer may connect, in one word.
func (p Peer) State() string {
	switch {
	case !p.Enabled:
		return "disabled"
	case p.Expired:
		return "expired"
	}
	return "enabled"
}

// Key is an API key without the key.
type Key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
	Key       string    `json:"key"` // only in the answer of a creation
}

// Verdicts of a Report.
const (
	InSync  = "in_sync"
	Drifted = "drift"
	Unknown = "unknown"
)

// Report is the drift of one node.
type Report struct {
	NodeID     string           `json:"node_id"`
	Status     string           `json:"status"`
	Error      string           `json:"error"`
	Unknown    []UnknownPeer    `json:"unknown_peers"`
	Ignored    []UnknownPeer    `json:"ignored_peers"`
	Missing    []MissingPeer    `json:"missing_peers"`
	Mismatched []MismatchedPeer `json:"mismatched_peers"`
	Interface  []Mismatch       `json:"interface_mismatches"`

	// File is what a restart of the interface would change; nil: not known.
	File       *[]FileMismatch `json:"file_drift"`
	FilePath   string          `json:"file_path"`
	FileSpeaks *bool           `json:"file_speaks"`
	Summary    Summary         `json:"summary"`
}

// Summary counts what a Report lists.
type Summary struct {
	FileDrift int `json:"file_drift_count"` // of all, where File has the first
}

// FileMismatch is one difference between the running device and the file on its host.
type FileMismatch struct {
	Peer   *string `json:"peer"` // public key; nil: the interface
	Field  string  `json:"field"`
	File   any     `json:"file"`
	Device any     `json:"device"`
}

// UnknownPeer is on the node but not in the panel.
type UnknownPeer struct {
	PublicKey  string   `json:"public_key"`
	AllowedIPs []string `json:"allowed_ips"`
	Origin     string   `json:"origin"` // orphaned or foreign
	Name       string   `json:"name"`   // of an orphaned one
	Why        string   `json:"why"`    // deleted, disabled or expired
	Protected  bool     `json:"protected"`
	Reason     string   `json:"reason"` // of the rule that protects or ignores it
}

// Rule says what is done about some unknown peers.
type Rule struct {
	ID         string     `json:"id"`
	NodeID     *string    `json:"node_id"` // nil: of all nodes
	Action     string     `json:"action"`
	PublicKey  *string    `json:"public_key"`
	AllowedIPs *string    `json:"allowed_ips"`
	Name       *string    `json:"name"`
	Until      *time.Time `json:"until"`
	Reason     string     `json:"reason"`
	InForce    bool       `json:"in_force"`
}

// About says which peers the rule chooses.
func (r Rule) About() string {
	switch {
	case r.PublicKey != nil:
		return "key " + *r.PublicKey
	case r.AllowedIPs != nil:
		return "in " + *r.AllowedIPs
	case r.Name != nil:
		return "called " + *r.Name
	}
	return "none"
}

// MissingPeer is in the panel but not on the node.
type MissingPeer struct {
	PublicKey  string   `json:"public_key"`
	Name       string   `json:"name"`
	AllowedIPs []string `json:"allowed_ips"`
}

// MismatchedPeer is on both sides with another configuration.
type MismatchedPeer struct {
	PublicKey  string     `json:"public_key"`
	Name       string     `json:"name"`
	Mismatches []Mismatch `json:"mismatches"`
}

// Mismatch is one field that differs.
type Mismatch struct {
	Field    string `json:"field"`
	Expected any    `json:"expected"`
	Actual   any    `json:"actual"`
}

// Reconciled is the outcome of a reconciliation, or the plan of a dry run.
type Reconciled struct {
	Added    []string `json:"added"`
	Updated  []string `json:"updated"`
	Removed  []string `json:"removed"`
	Adopted  []string `json:"adopted"`
	Accepted []string `json:"accepted"`
	// Interface are the settings of the interface that were written, or would be.
	Interface []string         `json:"interface"`
	Errors    []ReconcileError `json:"errors"`
	Verified  bool             `json:"verified"`
	Residual  *Report          `json:"residual"`
	Plan      Plan             `json:"plan"`
}

// Plan is what a reconciliation does, or would do.
type Plan struct {
	ID       string    `json:"plan_id"` // of this very plan; "" from a panel that has none
	Actions  []Action  `json:"actions"`
	Blocked  []Blocked `json:"blocked"`
	Warnings []string  `json:"warnings"`
}

// Action is one change, of a peer or of a setting of the interface.
type Action struct {
	ID      string     `json:"id"` // public key, or interface.FIELD
	Op      string     `json:"op"` // add, update, remove, interface, adopt or accept
	Name    string     `json:"name"`
	Changes []Mismatch `json:"changes"`
	Takes   []Take     `json:"takes"`
	Reason  string     `json:"reason"`
	Impact  string     `json:"impact"`
}

// Take is an allowed IP that leaves a peer that the panel does not know.
type Take struct {
	Prefix string `json:"prefix"`
	From   string `json:"from"` // public key
}

// Blocked is what can't be put right.
type Blocked struct {
	ID     string `json:"id"`
	Op     string `json:"op"`
	Reason string `json:"reason"`
}

// ReconcileError is one action that failed.
type ReconcileError struct {
	Peer   string `json:"peer"`
	Action string `json:"action"`
	Error  string `json:"error"`
}

// ReconcileRequest asks for a reconciliation.
type ReconcileRequest struct {
	Missing       bool `json:"reconcile_missing"`
	Mismatched    bool `json:"reconcile_mismatched"`
	PruneOrphaned bool `json:"prune_orphaned"`
	PruneForeign  bool `json:"prune_foreign"`
	AdoptUnknown  bool `json:"adopt_unknown,omitempty"`
	Accept        bool `json:"accept_mismatched,omitempty"`
	Interface     bool `json:"reconcile_interface,omitempty"`
	Atomic        bool `json:"atomic,omitempty"`
	// Only are the ids of the only actions to take; nil: all.
	Only             []string `json:"only,omitempty"`
	DryRun           bool     `json:"dry_run,omitempty"`
	AllowMassRemoval bool     `json:"allow_mass_removal,omitempty"`
	// PlanID asks for that very plan: a conflict where another one is needed by now.
	PlanID string `json:"plan_id,omitempty"`
}

// NodeTest is the outcome of a contact with an agent.
type NodeTest struct {
	Reachable     bool     `json:"reachable"`
	Authenticated bool     `json:"authenticated"`
	AgentID       string   `json:"agent_id"`
	Version       string   `json:"version"`
	Interfaces    []string `json:"interfaces"`
	Error         string   `json:"error"`
}

// Event is one thing that happened.
type Event struct {
	ID       string        `json:"id"`
	At       time.Time     `json:"at"`
	Kind     string        `json:"kind"`
	Severity string        `json:"severity"`
	NodeID   string        `json:"node_id"`
	NodeName string        `json:"node_name"`
	Actor    Actor         `json:"actor"`
	Message  string        `json:"message"`
	Changes  []EventChange `json:"changes"`
}

// Actor is who asked for something.
type Actor struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// EventChange is what happened to one peer, or to the interface.
type EventChange struct {
	Op      string         `json:"op"`
	Peer    string         `json:"peer"`
	Name    string         `json:"name"`
	Before  map[string]any `json:"before"`
	After   map[string]any `json:"after"`
	Outcome string         `json:"outcome"`
	Error   string         `json:"error"`
}

// RolloutRequest reconciles several nodes by plans that were shown.
type RolloutRequest struct {
	Plans            []RolloutPlan `json:"plans"`
	AllowMassRemoval bool          `json:"allow_mass_removal,omitempty"`
	Waves            []string      `json:"waves,omitempty"`
	MaxParallel      int           `json:"max_parallel,omitempty"` // 0: the panel's default
}

// RolloutPlan is the plan of one node.
type RolloutPlan struct {
	NodeID string `json:"node_id"`
	PlanID string `json:"plan_id"`
}

// RolloutRunning is the state of a Rollout that has not ended.
const RolloutRunning = "running"

// Rollout is the reconciliation of several nodes.
type Rollout struct {
	ID     string        `json:"id"`
	State  string        `json:"state"`
	Counts RolloutCounts `json:"counts"`
	Nodes  []RolloutNode `json:"nodes"`
}

// RolloutCounts are the nodes by their state.
type RolloutCounts struct {
	Total   int `json:"total"`
	Running int `json:"running"`
	Done    int `json:"done"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

// RolloutNode is one node of a Rollout.
type RolloutNode struct {
	NodeName string          `json:"node_name"`
	State    string          `json:"state"`
	Message  string          `json:"message"`
	Result   json.RawMessage `json:"result"` // nil: it did not come to one
}
