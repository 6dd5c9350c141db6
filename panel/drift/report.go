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
	Status     string // InSync, Drifted or Unknown
	Error      string // why it is Unknown, one sentence
	HasDrift   *bool  // nil: unknown
	Unknown    []UnknownPeer
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
