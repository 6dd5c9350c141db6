package drift

import "time"

// Verdicts of a Report.
const (
	InSync  = "in_sync"
	Drifted = "drift"
	Unknown = "unknown"
)

// Report is the drift of one node at one moment. Lists are never nil.
type Report struct {
	NodeID     string
	Status     string        // InSync, Drifted or Unknown
	Error      string        // why it is Unknown, one sentence
	HasDrift   *bool         // nil: unknown
	Unknown    []UnknownPeer // those that are not ignored
	Ignored    []IgnoredPeer
	Missing    []MissingPeer
	Mismatched []MismatchedPeer
	Interface  []Mismatch
	File       *FileDrift // nil: not known
	DetectedAt time.Time
}

// FileDrift is what a node's running interface and the file on its host differ in. The node is as the
// panel wants it all the same: it is no drift of a Report and counts as none.
type FileDrift struct {
	Path string // of the file
	// Speaks: a restart brings what the file says. Where it does not, the agent's last good state comes
	// back, and a restart changes nothing.
	Speaks     bool
	Count      int // of all differences
	Mismatches []FileMismatch
}

// FileMismatch is one difference, see agent.FileMismatch.
type FileMismatch struct {
	Peer   *string // public key; nil: the interface
	Field  string
	File   any
	Device any
}

// UnknownPeer is on the node but not in the panel.
type UnknownPeer struct {
	PublicKey           string
	AllowedIPs          []string
	PersistentKeepalive int
	Origin              string // Orphaned or Foreign
	Name                string // of an orphaned one: as the panel called it
	Why                 string // of an orphaned one: Deleted, Disabled or Expired
	Protected           bool   // by a rule: it is never removed
	Reason              string // of that rule
}

// IgnoredPeer is unknown, and a rule says that this is no drift.
type IgnoredPeer struct {
	UnknownPeer
	RuleID string
	Reason string    // of the rule
	Until  time.Time // zero: no end
}

// MissingPeer is in the panel but not on the node.
type MissingPeer struct {
	PublicKey  string
	Name       string
	AllowedIPs []string
	PeerID     string
}

// MismatchedPeer is on both sides with another configuration.
type MismatchedPeer struct {
	PublicKey  string
	Name       string
	PeerID     string
	Mismatches []Mismatch
}

// Mismatch is one field that differs: allowed_ips ([]string), persistent_keepalive (int),
// preshared_key ("set", "unset", "different"), or a field of the interface.
type Mismatch struct {
	Field    string
	Expected any
	Actual   any
}

// Issues counts the peers that differ.
func (r Report) Issues() int { return len(r.Unknown) + len(r.Missing) + len(r.Mismatched) }

// Orphans counts the unknown peers that the panel once had.
func (r Report) Orphans() int {
	n := 0
	for _, p := range r.Unknown {
		if p.Origin == Orphaned {
			n++
		}
	}
	return n
}
