package web

import (
	"fmt"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// driftData is the report of one node.
type driftData struct {
	HasDrift            *bool                `json:"has_drift" doc:"null where it is not known"`
	Status              string               `json:"status" doc:"in_sync, drift or unknown"`
	Error               string               `json:"error" doc:"why the status is unknown"`
	UnknownPeers        []unknownPeerData    `json:"unknown_peers"`
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

// reconcileBody says what a reconciliation may do; what it leaves out has the document's default.
type reconcileBody struct {
	Missing          *bool   `json:"reconcile_missing" default:"true"`
	Mismatched       *bool   `json:"reconcile_mismatched" default:"true"`
	RemoveUnknown    *bool   `json:"remove_unknown" default:"false"`
	AdoptUnknown     *bool   `json:"adopt_unknown" default:"false"`
	Atomic           *bool   `json:"atomic" default:"false"`
	DryRun           *bool   `json:"dry_run" default:"false"`
	AllowMassRemoval *bool   `json:"allow_mass_removal" default:"false"`
	PlanID           *string `json:"plan_id" doc:"the only plan that may be carried out, as a dry_run with the same options named it; 409 says what changed since"`
}

// reconcileData says what was done, or with dry_run would be, and what is left. Public keys.
type reconcileData struct {
	Added    []string             `json:"added"`
	Updated  []string             `json:"updated"`
	Removed  []string             `json:"removed"`
	Adopted  []string             `json:"adopted"`
	Errors   []reconcileErrorData `json:"errors"`
	Verified bool                 `json:"verified"`
	Residual driftData            `json:"residual"`
	Plan     planData             `json:"plan"`
	PlanID   string               `json:"plan_id" doc:"names the plan: send it back to have this plan carried out and no other"`
	DryRun   bool                 `json:"dry_run"`
}

type reconcileErrorData struct {
	Peer   string `json:"peer"`
	Action string `json:"action"`
	Error  string `json:"error"`
}

func fromReport(r drift.Report) driftData {
	d := driftData{
		HasDrift: r.HasDrift, Status: r.Status, Error: r.Error,
		UnknownPeers: each(r.Unknown, func(p drift.UnknownPeer) unknownPeerData {
			return unknownPeerData{p.PublicKey, notNil(p.AllowedIPs), p.PersistentKeepalive}
		}),
		MissingPeers: each(r.Missing, func(p drift.MissingPeer) missingPeerData {
			return missingPeerData{p.PublicKey, p.Name, notNil(p.AllowedIPs), p.PeerID}
		}),
		MismatchedPeers: each(r.Mismatched, func(p drift.MismatchedPeer) mismatchedPeerData {
			return mismatchedPeerData{p.PublicKey, p.Name, p.PeerID, each(p.Mismatches, fromMismatch)}
		}),
		InterfaceMismatches: each(r.Interface, fromMismatch),
		Summary: driftSummary{
			UnknownCount: len(r.Unknown), MissingCount: len(r.Missing), MismatchedCount: len(r.Mismatched),
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

func toReconcileOptions(b reconcileBody) panel.ReconcileOptions {
	or := func(b *bool, otherwise bool) bool {
		if b == nil {
			return otherwise
		}
		return *b
	}
	id := ""
	if b.PlanID != nil {
		id = *b.PlanID
	}
	return panel.ReconcileOptions{
		Missing: or(b.Missing, true), Mismatched: or(b.Mismatched, true),
		RemoveUnknown: or(b.RemoveUnknown, false), AdoptUnknown: or(b.AdoptUnknown, false),
		Atomic: or(b.Atomic, false), DryRun: or(b.DryRun, false), AllowMassRemoval: or(b.AllowMassRemoval, false),
		PlanID: id,
	}
}

func fromReconciled(r panel.ReconcileResult) reconcileData {
	return reconcileData{
		Added: notNil(r.Added), Updated: notNil(r.Updated), Removed: notNil(r.Removed), Adopted: notNil(r.Adopted),
		Errors: each(r.Errors, func(e panel.ReconcileError) reconcileErrorData {
			return reconcileErrorData{e.Peer, e.Action, e.Error}
		}),
		Verified: r.Verified, Residual: fromReport(r.Residual), Plan: fromPlan(r.Plan, r.PlanID), PlanID: r.PlanID, DryRun: r.DryRun,
	}
}

// reconciledMessage is the document's sentence; removals and adoptions are in it where there are any.
func reconciledMessage(r panel.ReconcileResult) string {
	verbs := []string{"Added", "Updated", "Removed", "Adopted"}
	if r.DryRun {
		verbs = []string{"Would add", "would update", "would remove", "would adopt"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d peers, %s %d peers, ", verbs[0], len(r.Added), verbs[1], len(r.Updated))
	for i, keys := range [][]string{r.Removed, r.Adopted} {
		if len(keys) > 0 {
			fmt.Fprintf(&b, "%s %d peers, ", verbs[2+i], len(keys))
		}
	}
	fmt.Fprintf(&b, "%d errors", len(r.Errors))
	return b.String()
}

func (s *Server) nodeDrift(c *gin.Context, _ none) (answer[driftData], error) {
	r, err := s.panel.Drift(c.Request.Context(), c.Param("id"))
	return answer[driftData]{message: "Drift detection completed", data: fromReport(r)}, err
}

func (s *Server) fleetDrift(c *gin.Context, _ none) (answer[fleetDriftData], error) {
	reports, err := s.panel.DriftAll(c.Request.Context())
	return answer[fleetDriftData]{message: "Drift detection completed for all nodes", data: fromReports(reports)}, err
}

func (s *Server) reconcile(c *gin.Context, b reconcileBody) (answer[reconcileData], error) {
	if b.PlanID != nil && *b.PlanID == "" {
		return answer[reconcileData]{}, panel.Invalid("plan_id", "is empty: leave it out, or send the one of a dry_run")
	}
	r, err := s.panel.Reconcile(c.Request.Context(), c.Param("id"), toReconcileOptions(b))
	return answer[reconcileData]{message: reconciledMessage(r), data: fromReconciled(r)}, err
}
