package web

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
)

var update = flag.Bool("update", false, "write the golden files anew")

// documentReport is the example of the design document as a report.
func documentReport() drift.Report {
	return drift.Report{
		NodeID: "node-uuid", Status: drift.Drifted, HasDrift: new(true), DetectedAt: epoch,
		Unknown: []drift.UnknownPeer{{PublicKey: "...", AllowedIPs: []string{"10.0.1.100/32"}}},
		Missing: []drift.MissingPeer{{PublicKey: "...", Name: "Peer Name", AllowedIPs: []string{"10.0.1.2/32"}, PeerID: "peer-uuid"}},
		Mismatched: []drift.MismatchedPeer{{
			PublicKey: "...", Name: "Peer Name", PeerID: "peer-uuid",
			Mismatches: []drift.Mismatch{
				{Field: "allowed_ips", Expected: []string{"10.0.1.2/32", "10.0.1.3/32"}, Actual: []string{"10.0.1.2/32"}},
				{Field: "persistent_keepalive", Expected: 25, Actual: 30},
			},
		}},
	}
}

func unknownReport(id, why string) drift.Report {
	return drift.Report{NodeID: id, Status: drift.Unknown, Error: why, DetectedAt: epoch}
}

// golden holds an answer against a file, field by field.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		var v any
		require.NoError(t, json.Unmarshal(got, &v))
		b, err := json.MarshalIndent(v, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, append(b, '\n'), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
}

func TestShapes(t *testing.T) {
	h := newHarness(t)
	h.fake.tested = panel.NodeTest{Reachable: true, Authenticated: true, AgentID: "id", Version: "v1", Latency: 1500000}
	h.fake.result = panel.ReconcileResult{
		Added: []string{"peer_key_1", "peer_key_2"}, Updated: []string{"peer_key_3"}, Verified: true, Planned: panel.Planned{PlanID: "1-2-3-4", NodeID: "n1", DesiredRevision: 7, ExpiresAt: epoch},
		Residual: drift.Report{NodeID: "n1", Status: drift.InSync, HasDrift: new(false), DetectedAt: epoch},
	}
	h.fake.all = []drift.Report{
		documentReport(), unknownReport("gone", "the node did not answer"), unknownReport("off", "disabled"),
		{NodeID: "clean", Status: drift.InSync, HasDrift: new(false), DetectedAt: epoch, File: &drift.FileDrift{Path: "/etc/wireguard/wg0.conf"}},
		{
			NodeID: "edited", Status: drift.InSync, HasDrift: new(false), DetectedAt: epoch,
			File: &drift.FileDrift{Path: "/etc/wireguard/wg0.conf", Speaks: true, Count: 1001, Mismatches: []drift.FileMismatch{
				{Field: "listen_port", File: 51820, Device: 51821}, {Peer: new("..."), Field: "missing", Device: []string{"10.0.1.2/32"}},
			}},
		},
		{
			NodeID: "port", Status: drift.Drifted, HasDrift: new(true), DetectedAt: epoch,
			Interface: []drift.Mismatch{{Field: "listen_port", Expected: 51820, Actual: 51821}, {Field: "addresses", Expected: []string(nil), Actual: nil}},
		},
	}
	for _, tt := range []struct{ file, method, path, body string }{
		{"node.json", http.MethodGet, "/api/nodes/n1", ""},
		{"node_new.json", http.MethodGet, "/api/nodes/n2", ""},
		{"node_created.json", http.MethodPost, "/api/nodes", `{"name":"x"}`},
		{"node_test.json", http.MethodPost, "/api/nodes/n1/test", ""},
		{"interface_none.json", http.MethodGet, "/api/nodes/n2/interface", ""},
		{"interface.json", http.MethodPut, "/api/nodes/n1/interface", `{"listen_port":51820,"addresses":["10.8.0.1/24"],"fwmark":7,"hooks":{"post_up":["true"]},"forward":"","masquerade":"eth0"}`},
		{"peer.json", http.MethodGet, "/api/nodes/n1/peers/p1", ""},
		{"peers.json", http.MethodGet, "/api/nodes/n1/peers", ""},
		{"peers_none.json", http.MethodGet, "/api/nodes/n2/peers", ""},
		{"drift.json", http.MethodGet, "/api/drift/nodes/n1", ""},
		{"drift_fleet.json", http.MethodGet, "/api/drift/nodes", ""},
		{"reconcile.json", http.MethodPost, "/api/drift/nodes/n1/reconcile", `{"plan_id":"1-2-3-4"}`},
		{"groups.json", http.MethodGet, "/api/groups", ""},
		{"template.json", http.MethodPut, "/api/templates/t1", `{"dns":null,"hooks":{"post_up":["true"]},"ip_pool_cidr":""}`},
		{"effective.json", http.MethodGet, "/api/nodes/n1/effective", ""},
		{"preview.json", http.MethodPost, "/api/groups/g1/preview", `{"override_mtu":1400}`},
		{"revisions.json", http.MethodGet, "/api/nodes/n1/revisions", ""},
		{"revision.json", http.MethodGet, "/api/nodes/n1/revisions/3", ""},
		{"revision_diff.json", http.MethodGet, "/api/nodes/n1/revisions/3/diff?to=5", ""},
		{"rollback_plan.json", http.MethodPost, "/api/nodes/n1/revisions/3/rollback", ""},
		{"rollback.json", http.MethodPost, "/api/nodes/n1/revisions/3/rollback", `{"plan_id":"1-2-3-4"}`},
		{"keys.json", http.MethodGet, "/api/keys", ""},
		{"key_created.json", http.MethodPost, "/api/keys", `{"name":"ci","role":"viewer"}`},
		{"health.json", http.MethodGet, "/api/health", ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			r := h.do(tt.method, tt.path, adminToken, tt.body)
			require.Equal(t, http.StatusOK, r.Code, r.Body)
			golden(t, tt.file, r.Body.Bytes())
		})
	}
}

// The document's own example, as it was printed, must be in ours; its time had no zone.
func TestDriftIsTheDocuments(t *testing.T) {
	h := newHarness(t)
	for file, path := range map[string]string{
		"document_drift.json":     "/api/drift/nodes/n1",
		"document_reconcile.json": "/api/drift/nodes/n1/reconcile",
	} {
		raw, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(t, err)
		var want, got any
		require.NoError(t, json.Unmarshal(raw, &want))
		method := http.MethodGet
		if file == "document_reconcile.json" {
			method = http.MethodPost
			h.fake.result = panel.ReconcileResult{Added: []string{"peer_key_1", "peer_key_2"}, Updated: []string{"peer_key_3"}}
		}
		require.NoError(t, json.Unmarshal(h.do(method, path, adminToken, "").Body.Bytes(), &got))
		requireWithin(t, file, want, got)
	}
}

// requireWithin holds where got has all that want has; objects may have more.
func requireWithin(t *testing.T, path string, want, got any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		require.True(t, ok, path)
		for k, v := range w {
			require.Contains(t, g, k, path)
			requireWithin(t, path+"."+k, v, g[k])
		}
	case []any:
		g, ok := got.([]any)
		require.True(t, ok, path)
		require.Len(t, g, len(w), path)
		for i := range w {
			requireWithin(t, fmt.Sprintf("%s[%d]", path, i), w[i], g[i])
		}
	default:
		require.Equal(t, want, got, path)
	}
}

func TestFleetSummary(t *testing.T) {
	d := fromReports([]drift.Report{documentReport(), unknownReport("gone", "no answer"), unknownReport("off", "disabled")})
	require.Equal(t, fleetSummary{TotalNodes: 3, NodesWithDrift: 1, NodesUnknown: 1, NodesDisabled: 1, TotalIssues: 3}, d.Summary)
	require.Nil(t, d.Nodes["gone"].HasDrift)
}

func TestReconciledMessage(t *testing.T) {
	one := []string{"a"}
	for want, r := range map[string]panel.ReconcileResult{
		"Added 2 peers, Updated 1 peers, 0 errors":                                   {Added: []string{"a", "b"}, Updated: one},
		"Added 0 peers, Updated 0 peers, 0 errors":                                   {},
		"Added 0 peers, Updated 0 peers, Removed 1 peers, 0 errors":                  {Removed: one},
		"Added 1 peers, Updated 0 peers, Removed 1 peers, Adopted 1 peers, 1 errors": {Added: one, Removed: one, Adopted: one, Errors: []panel.ReconcileError{{Peer: "x"}}},
		"Would add 1 peers, would update 0 peers, 0 errors":                          {Added: one, DryRun: true},
	} {
		require.Equal(t, want, reconciledMessage(r))
	}
}
