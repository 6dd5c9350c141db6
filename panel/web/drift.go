package web

import (
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel/drift"
)

// driftData is the report of one node.
type driftData struct {
	HasDrift            *bool                `json:"has_drift" doc:"null where it is not known"`
	Status              string               `json:"status" doc:"in_sync, drift or unknown"`
	Error               string               `json:"error" doc:"why the status is unknown"`
	UnknownPeers        []unknownPeerData    `json:"unknown_peers"`
	IgnoredPeers        []ignoredPeerData    `json:"ignored_peers" doc:"unknown peers that a rule says are no drift"`
	MissingPeers        []missingPeerData    `json:"missing_peers"`
	MismatchedPeers     []mismatchedPeerData `json:"mismatched_peers"`
	InterfaceMismatches []mismatchData       `json:"interface_mismatches"`
	FileDrift           *[]fileMismatchData  `json:"file_drift" doc:"what a restart of the interface would change, since the file on its host differs from the running device: the first 1000; null where it is not known. It is no drift and sets no status"`
	FilePath            string               `json:"file_path" doc:"on the host; empty where file_drift is null"`
	FileSpeaks          *bool                `json:"file_speaks" doc:"false: at the next start the agent's last good state comes back and not what the file says; null where file_drift is"`
	Summary             driftSummary         `json:"summary"`
	NodeID              string               `json:"node_id"`
	DetectedAt          string               `json:"detected_at" format:"date-time"`
}

type unknownPeerData struct {
	PublicKey           string   `json:"public_key"`
	AllowedIPs          []string `json:"allowed_ips"`
	PersistentKeepalive int      `json:"persistent_keepalive"`
	Origin              string   `json:"origin" doc:"orphaned: the panel had it on this node; foreign: it does not know it"`
	Name                string   `json:"name" doc:"of an orphaned one, as the panel called it"`
	Why                 string   `json:"why" doc:"of an orphaned one: deleted, disabled or expired"`
	Protected           bool     `json:"protected" doc:"by a rule: it is never removed"`
	Reason              string   `json:"reason" doc:"of that rule"`
}

type ignoredPeerData struct {
	unknownPeerData
	RuleID string  `json:"rule_id"`
	Until  *string `json:"until" format:"date-time" doc:"null: the rule has no end"`
}

type missingPeerData struct {
	PublicKey  string   `json:"public_key"`
	Name       string   `json:"name"`
	AllowedIPs []string `json:"allowed_ips"`
	PeerID     string   `json:"peer_id"`
}

type mismatchedPeerData struct {
	PublicKey  string         `json:"public_key"`
	Name       string         `json:"name"`
	PeerID     string         `json:"peer_id"`
	Mismatches []mismatchData `json:"mismatches"`
}

type mismatchData struct {
	Field    string `json:"field"`
	Expected any    `json:"expected"`
	Actual   any    `json:"actual"`
}

type fileMismatchData struct {
	Peer   *string `json:"peer" doc:"public key; null: the interface"`
	Field  string  `json:"field" doc:"as in the API; or missing, a peer that is not in the file; unknown, one that is there alone; file, it is missing or can't be read"`
	File   any     `json:"file"`
	Device any     `json:"device"`
}

type driftSummary struct {
	UnknownCount    int `json:"unknown_count"`
	OrphanedCount   int `json:"orphaned_count" doc:"of the unknown ones"`
	ForeignCount    int `json:"foreign_count" doc:"of the unknown ones"`
	IgnoredCount    int `json:"ignored_count" doc:"in no other count"`
	MissingCount    int `json:"missing_count"`
	MismatchedCount int `json:"mismatched_count"`
	TotalIssues     int `json:"total_issues" doc:"of peers"`
	InterfaceCount  int `json:"interface_count"`
	FileDriftCount  int `json:"file_drift_count" doc:"of all, where file_drift shows the first"`
}

// fleetDriftData is the reports of all nodes by node id.
type fleetDriftData struct {
	Nodes   map[string]driftData `json:"nodes"`
	Summary fleetSummary         `json:"summary"`
}

type fleetSummary struct {
	TotalNodes     int `json:"total_nodes"`
	NodesWithDrift int `json:"nodes_with_drift"`
	NodesUnknown   int `json:"nodes_unknown" doc:"enabled nodes that could not be checked"`
	NodesDisabled  int `json:"nodes_disabled"`
	TotalIssues    int `json:"total_issues"`
}

// disabledNode is the error of a report on a node that is not looked at.
const disabledNode = "disabled"

func fromReport(r drift.Report) driftData {
	d := driftData{
		HasDrift: r.HasDrift, Status: r.Status, Error: r.Error,
		UnknownPeers: each(r.Unknown, fromUnknown),
		IgnoredPeers: each(r.Ignored, func(p drift.IgnoredPeer) ignoredPeerData {
			d := ignoredPeerData{unknownPeerData: fromUnknown(p.UnknownPeer), RuleID: p.RuleID, Until: stampOrNull(p.Until)}
			d.Reason = p.Reason
			return d
		}),
		MissingPeers: each(r.Missing, func(p drift.MissingPeer) missingPeerData {
			return missingPeerData{p.PublicKey, p.Name, notNil(p.AllowedIPs), p.PeerID}
		}),
		MismatchedPeers: each(r.Mismatched, func(p drift.MismatchedPeer) mismatchedPeerData {
			return mismatchedPeerData{p.PublicKey, p.Name, p.PeerID, each(p.Mismatches, fromMismatch)}
		}),
		InterfaceMismatches: each(r.Interface, fromMismatch),
		Summary: driftSummary{
			UnknownCount: len(r.Unknown), OrphanedCount: r.Orphans(), ForeignCount: len(r.Unknown) - r.Orphans(), IgnoredCount: len(r.Ignored),
			MissingCount: len(r.Missing), MismatchedCount: len(r.Mismatched),
			TotalIssues: r.Issues(), InterfaceCount: len(r.Interface),
		},
		NodeID: r.NodeID, DetectedAt: stamp(r.DetectedAt),
	}
	if f := r.File; f != nil {
		list := each(f.Mismatches, func(m drift.FileMismatch) fileMismatchData { return fileMismatchData(m) })
		d.FileDrift, d.FilePath, d.FileSpeaks, d.Summary.FileDriftCount = &list, f.Path, &f.Speaks, f.Count
	}
	return d
}

func fromUnknown(p drift.UnknownPeer) unknownPeerData {
	d := unknownPeerData(p)
	d.AllowedIPs = notNil(p.AllowedIPs)
	return d
}

func fromMismatch(m drift.Mismatch) mismatchData {
	return mismatchData{m.Field, listValue(m.Expected), listValue(m.Actual)}
}

// listValue keeps an empty list of texts from being null.
func listValue(v any) any {
	if texts, ok := v.([]string); ok {
		return notNil(texts)
	}
	return v
}

func fromReports(reports []drift.Report) fleetDriftData {
	d := fleetDriftData{Nodes: make(map[string]driftData, len(reports))}
	d.Summary.TotalNodes = len(reports)
	for _, r := range reports {
		d.Nodes[r.NodeID] = fromReport(r)
		d.Summary.TotalIssues += r.Issues()
		switch {
		case r.HasDrift != nil && *r.HasDrift:
			d.Summary.NodesWithDrift++
		case r.HasDrift == nil && r.Error == disabledNode:
			d.Summary.NodesDisabled++
		case r.HasDrift == nil:
			d.Summary.NodesUnknown++
		}
	}
	return d
}

func (s *Server) nodeDrift(c *gin.Context, _ none) (answer[driftData], error) {
	r, err := s.panel.Drift(c.Request.Context(), c.Param("id"))
	return answer[driftData]{message: "Drift detection completed", data: fromReport(r)}, err
}

func (s *Server) fleetDrift(c *gin.Context, _ none) (answer[fleetDriftData], error) {
	reports, err := s.panel.DriftAll(c.Request.Context())
	return answer[fleetDriftData]{message: "Drift detection completed for all nodes", data: fromReports(reports)}, err
}
