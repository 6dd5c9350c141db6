package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

func summary(r map[string]any) map[string]any { return r["summary"].(map[string]any) }

func keys(list any) []string {
	out := []string{}
	for _, p := range list.([]any) {
		out = append(out, p.(map[string]any)["public_key"].(string))
	}
	return out
}

// The seven tests of the design document.

func TestDriftDetectionNoDrift(t *testing.T) {
	f := newFleet(t)
	f.peer("laptop")
	r := f.drift()
	require.Equal(t, false, r["has_drift"])
	require.Equal(t, "in_sync", r["status"])
	for _, list := range []string{"unknown_peers", "missing_peers", "mismatched_peers", "interface_mismatches"} {
		require.Equal(t, []any{}, r[list], list)
	}
	require.EqualValues(t, 0, summary(r)["total_issues"])
	require.Equal(t, f.id, r["node_id"])
	require.Regexp(t, `Z$`, r["detected_at"])
}

func TestDriftDetectionUnknownPeers(t *testing.T) {
	f := newFleet(t)
	f.peer("laptop")
	k := key("stranger")
	f.agentPeer("POST", k, map[string]any{"public_key": k, "allowed_ips": []string{"10.8.0.100/32"}})
	r := f.drift()
	require.Equal(t, true, r["has_drift"])
	require.Equal(t, []any{map[string]any{
		"public_key": k, "allowed_ips": []any{"10.8.0.100/32"}, "persistent_keepalive": 0.0, // the document's
		"origin": "foreign", "name": "", "why": "", "protected": false, "reason": "",
	}}, r["unknown_peers"])
	require.Equal(t, []any{}, r["ignored_peers"])
	require.EqualValues(t, 1, summary(r)["unknown_count"])
	require.EqualValues(t, 1, summary(r)["foreign_count"])

	done := f.reconcile(nil)
	require.Empty(t, done["removed"], "kept unless asked")
	require.Equal(t, true, done["verified"])
	require.Equal(t, []string{k}, keys(done["residual"].(map[string]any)["unknown_peers"]))
	done = f.reconcile(map[string]any{"remove_unknown": true})
	require.Equal(t, []any{k}, done["removed"])
	require.Equal(t, "in_sync", f.drift()["status"])
}

func TestDriftDetectionMissingPeers(t *testing.T) {
	f := newFleet(t)
	p := f.peer("laptop", "preshared_key", "auto")
	k := p["public_key"].(string)
	f.agentPeer("DELETE", k, nil)
	r := f.drift()
	require.Equal(t, []any{map[string]any{"public_key": k, "name": "laptop", "allowed_ips": p["allowed_ips"], "peer_id": p["id"]}}, r["missing_peers"])
	status, v, _ := f.call("POST", "/api/drift/nodes/"+f.id+"/reconcile", nil)
	require.Equal(t, 200, status)
	require.Equal(t, "Added 1 peers, Updated 0 peers, 0 errors", v.Message)
	require.Equal(t, "in_sync", f.drift()["status"])
}

func TestDriftDetectionMismatchedPeers(t *testing.T) {
	f := newFleet(t)
	p := f.peer("laptop", "allowed_ips", []string{"10.8.0.2/32", "10.8.0.3/32"}, "persistent_keepalive", 25)
	k := p["public_key"].(string)
	f.agentPeer("PUT", k, map[string]any{"allowed_ips": []string{"10.8.0.2/32"}, "persistent_keepalive": 30, "preshared_key": key("psk")})
	r := f.drift()
	require.Equal(t, []any{map[string]any{
		"public_key": k, "name": "laptop", "peer_id": p["id"],
		"mismatches": []any{
			map[string]any{"field": "allowed_ips", "expected": []any{"10.8.0.2/32", "10.8.0.3/32"}, "actual": []any{"10.8.0.2/32"}},
			map[string]any{"field": "persistent_keepalive", "expected": 25.0, "actual": 30.0},
			map[string]any{"field": "preshared_key", "expected": "unset", "actual": "set"},
		},
	}}, r["mismatched_peers"])
	require.Equal(t, []any{k}, f.reconcile(nil)["updated"])
	require.Equal(t, "in_sync", f.drift()["status"])
}

func TestDriftDetectionCombinedIssues(t *testing.T) {
	f := newFleet(t)
	missing, mismatched, stranger := f.peer("a"), f.peer("b"), key("stranger")
	f.agentPeer("DELETE", missing["public_key"].(string), nil)
	f.agentPeer("PUT", mismatched["public_key"].(string), map[string]any{"persistent_keepalive": 99})
	// The stranger sits on the address of the missing peer.
	f.agentPeer("POST", stranger, map[string]any{"public_key": stranger, "allowed_ips": []any{missing["allowed_ips"].([]any)[0], "10.8.0.200/32"}})
	r := f.drift()
	require.EqualValues(t, 3, summary(r)["total_issues"])
	plan := f.reconcile(map[string]any{"dry_run": true})
	text, err := json.Marshal(plan)
	require.NoError(t, err)
	require.Contains(t, string(text), stranger, "the plan says whose address is taken")
	require.EqualValues(t, 3, summary(f.drift())["total_issues"], "a dry run changes nothing")

	done := f.reconcile(nil)
	require.Equal(t, true, done["verified"], done)
	require.Equal(t, []any{missing["public_key"]}, done["added"])
	require.Equal(t, []any{mismatched["public_key"]}, done["updated"])
	require.Equal(t, []string{"10.8.0.200/32"}, f.peers()[stranger].AllowedIPs, "the unknown peer stays, without the address")

	before := f.get("/v1/wg/wg0/dump").header.Get("ETag")
	again := f.reconcile(nil)
	require.Empty(t, again["added"])
	require.Empty(t, again["updated"])
	require.Equal(t, before, f.get("/v1/wg/wg0/dump").header.Get("ETag"))
	all := f.object("GET", "/api/drift/nodes", nil)
	require.EqualValues(t, 1, summary(all)["nodes_with_drift"])
	require.EqualValues(t, 1, summary(all)["total_nodes"])
	require.Contains(t, all["nodes"], f.id)
}

func TestPerNodeOverrideFields(t *testing.T) {
	f := newFleet(t)
	old, port := f.peer("before"), freePort(t)
	f.ok("PUT", f.nodePath(""), map[string]any{
		"override_listen_port": port, "override_dns": "8.8.8.8, corp.example", "override_mtu": 1380,
		"override_keepalive": 30, "override_endpoint_allowed_ip": "10.0.0.0/8,fd00::/8", "endpoint": "vpn.example.com",
	})
	r := f.drift()
	require.Equal(t, []string{old["public_key"].(string)}, keys(r["mismatched_peers"]), "a changed override writes nothing and shows as drift")
	require.Contains(t, fmt.Sprint(r["interface_mismatches"]), "listen_port")
	require.EqualValues(t, 1, summary(r)["interface_count"])
	f.ok("POST", f.nodePath("/interface/sync"), nil)
	f.reconcile(nil)
	require.Equal(t, "in_sync", f.drift()["status"], f.drift())

	p := f.peer("after")
	require.Equal(t, map[string]any{
		"dns": "8.8.8.8, corp.example", "mtu": 1380.0, "persistent_keepalive": 30.0,
		"endpoint_allowed_ip": "10.0.0.0/8, fd00::/8", "endpoint": fmt.Sprintf("vpn.example.com:%d", port),
	}, p["effective"])
	require.Equal(t, 30, f.peers()[p["public_key"].(string)].PersistentKeepalive)
	file := f.ok("GET", f.nodePath("/peers/%s/config", p["id"]), nil).(string)
	for _, line := range []string{"DNS = 8.8.8.8, corp.example", "MTU = 1380", "AllowedIPs = 10.0.0.0/8, fd00::/8", fmt.Sprintf("Endpoint = vpn.example.com:%d", port), "PersistentKeepalive = 30"} {
		require.Contains(t, file, line)
	}
	own := f.object("PUT", f.nodePath("/peers/%s", p["id"]), map[string]any{"mtu": 1300})
	require.EqualValues(t, 1300, own["effective"].(map[string]any)["mtu"], "a field of the peer wins")
	f.ok("PUT", f.nodePath(""), map[string]any{"override_dns": nil})
	require.Nil(t, f.object("GET", f.nodePath(""), nil)["override_dns"])
	for field, bad := range map[string]any{
		"override_listen_port": 70000, "override_mtu": 100, "override_keepalive": 65536, "override_dns": "not an address!",
		"override_endpoint_allowed_ip": "10.0.0.0/99", "weight": 0, "agent_url": "ftp://x", "wg_interface": "../etc", "ip_pool_cidr": "10.0.0.0/33", "nonsense": 1,
	} {
		v := f.refused(422, "PUT", f.nodePath(""), map[string]any{field: bad})
		require.Contains(t, fmt.Sprint(v.Data), field)
	}
}

func TestFirstStart(t *testing.T) {
	f := newFleet(t)
	own := f.object("GET", f.nodePath(""), nil)
	require.Equal(t, true, own["is_panel_node"])
	require.Regexp(t, `^10\.8\.0\.0/24, ?fd[0-9a-f:]+/64$`, own["ip_pool_cidr"])
	require.NotContains(t, own, "secret")
	p := f.peer("laptop")
	require.Equal(t, "10.8.0.2/32", p["allowed_ips"].([]any)[0], "the first usable one is the node's own")
	require.Len(t, p["allowed_ips"], 2)
	require.Contains(t, f.Log.String(), "wgfleet peer add", "what to do next is printed")
	for _, name := range []string{"admin.key", "agent/agent.json", "master.key"} {
		info, err := os.Stat(filepath.Join(f.dir, "data", name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}

	res, err := http.NewRequest(http.MethodGet, f.PanelURL+f.nodePath("/peers/%s/qr", p["id"]), nil)
	require.NoError(t, err)
	res.Header.Set("wg-dashboard-apikey", f.key)
	answer, err := panelHTTP.Do(res)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, "image/png", answer.Header.Get("Content-Type"))
	_, err = png.Decode(bytes.NewReader(b))
	require.NoError(t, err)
}

func TestPowerCut(t *testing.T) {
	f := newFleet(t, "WGFLEET_SEED_DIR="+binary.SeedPort(t))
	f.peer("laptop")
	f.Kill()
	f.start()
	require.Equal(t, "in_sync", f.drift()["status"])
	require.Len(t, f.ok("GET", f.nodePath("/peers"), nil), 1)
}

// Who loses the file of an interface must not get another identity under its name.
func TestAMissingFileIsNoNewIdentity(t *testing.T) {
	f := newFleet(t, "WGFLEET_SEED_DIR="+binary.SeedPort(t))
	f.peer("laptop")
	f.Stop()
	file := readFile(t, f.file())
	require.NoError(t, os.Remove(f.file()))
	f.start()
	require.NoFileExists(t, f.file())
	require.Equal(t, "unknown", f.drift()["status"])
	require.Len(t, f.ok("GET", "/api/nodes", nil), 1)
	require.Contains(t, f.Log.String(), "put wg0.conf back")
	f.Stop()
	require.NoError(t, os.WriteFile(f.file(), []byte(file), 0o600))
	f.start()
	r := f.drift()
	require.Equal(t, "in_sync", r["status"], r["error"])
}

func TestALostMasterKeyIsNotReplaced(t *testing.T) {
	f := newFleet(t)
	f.Stop()
	key := filepath.Join(f.dir, "data", "master.key")
	require.NoError(t, os.Rename(key, key+".away"))
	cmd := exec.Command(binary.Path(), f.args...)
	cmd.Dir, cmd.Env = f.dir, f.env
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "put it back")
	require.NoFileExists(t, key)
}

func TestAnUnknownNodeIsNotInSync(t *testing.T) {
	f := newFleet(t)
	a := newAttacker(t, f.AgentURL)
	p := f.peer("laptop")
	f.ok("PUT", f.nodePath(""), map[string]any{"agent_url": a.server.URL})
	require.Equal(t, "in_sync", f.drift()["status"])
	unknown := func(why string) {
		t.Helper()
		r := f.drift()
		require.Equal(t, "unknown", r["status"], why)
		require.Nil(t, r["has_drift"])
		require.NotEmpty(t, r["error"])
		require.Equal(t, []any{}, r["missing_peers"])
		all := f.object("GET", "/api/drift/nodes", nil)
		require.EqualValues(t, 1, summary(all)["nodes_unknown"])
		require.EqualValues(t, 0, summary(all)["nodes_with_drift"])
	}
	f.agentPeer("DELETE", p["public_key"].(string), nil) // there is drift to be hidden
	require.Equal(t, "drift", f.drift()["status"])

	a.cut.Store(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("ETag", r.Header.Get("If-None-Match"))
		w.WriteHeader(http.StatusNotModified)
		return true
	})
	unknown("an attacker who answers 304")
	a.honest()
	a.mode.Store(func(r *http.Response) error { r.Header.Del("X-Response-Signature"); return nil })
	unknown("stripped signature")
	a.honest()
	a.mode.Store(func(r *http.Response) error { r.Header.Del("X-Interface-Digest"); return nil })
	unknown("stripped digest")
	a.honest()
	var kept *http.Response
	var body []byte
	a.mode.Store(func(r *http.Response) error {
		if kept == nil && strings.Contains(r.Request.URL.Path, "/dump") {
			kept = r
			body, _ = io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return nil
	})
	require.Equal(t, "drift", f.drift()["status"])
	a.mode.Store(func(r *http.Response) error {
		if strings.Contains(r.Request.URL.Path, "/dump") {
			r.Header, r.StatusCode, r.Body = kept.Header, kept.StatusCode, io.NopCloser(bytes.NewReader(body))
		}
		return nil
	})
	unknown("a replayed answer")
	a.honest()
	require.Equal(t, "drift", f.drift()["status"])
	a.server.Close()
	unknown("a dead node")
	f.refused(502, "POST", f.nodePath("/peers"), map[string]any{"name": "x"})
	require.Len(t, f.ok("GET", f.nodePath("/peers"), nil), 1, "nothing has changed")
	f.ok("POST", f.nodePath("/peers"), map[string]any{"name": "x", "allow_offline": true})
	f.ok("POST", f.nodePath("/toggle"), map[string]any{"enabled": false})
	require.Equal(t, "disabled", f.drift()["error"])
	require.EqualValues(t, 1, summary(f.object("GET", "/api/drift/nodes", nil))["nodes_disabled"])
}

func TestPanelRefuses(t *testing.T) {
	f := newFleet(t)
	p := f.peer("laptop")
	count := len(f.ok("GET", f.nodePath("/peers"), nil).([]any))
	for name, c := range map[string]struct {
		status       int
		method, path string
		body         any
	}{
		"malformed":        {400, "POST", f.nodePath("/peers"), `{"name":`},
		"unknown field":    {422, "POST", f.nodePath("/peers"), map[string]any{"name": "x", "nonsense": 1}},
		"wrong type":       {422, "POST", f.nodePath("/peers"), map[string]any{"name": 5}},
		"key":              {422, "POST", f.nodePath("/peers"), map[string]any{"name": "x", "public_key": "abc"}},
		"address":          {422, "POST", f.nodePath("/peers"), map[string]any{"name": "x", "allowed_ips": []string{"nonsense"}}},
		"keepalive":        {422, "POST", f.nodePath("/peers"), map[string]any{"name": "x", "persistent_keepalive": 65536}},
		"the same prefix":  {409, "POST", f.nodePath("/peers"), map[string]any{"name": "x", "allowed_ips": p["allowed_ips"]}},
		"the same key":     {409, "POST", f.nodePath("/peers"), map[string]any{"name": "x", "public_key": p["public_key"]}},
		"unknown node":     {404, "GET", "/api/nodes/nobody", nil},
		"unknown peer":     {404, "GET", f.nodePath("/peers/nobody"), nil},
		"unknown route":    {404, "GET", "/api/nope", nil},
		"method":           {405, "PATCH", "/api/nodes", nil},
		"a node's name":    {422, "POST", "/api/nodes", map[string]any{"name": "", "agent_url": "http://127.0.0.1:1"}},
		"a body too large": {413, "POST", f.nodePath("/peers"), `{"name":"` + strings.Repeat("x", 8<<20) + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f.t = t
			v := f.refused(c.status, c.method, c.path, c.body)
			if c.status == 422 {
				list, ok := v.Data.([]any)
				require.True(t, ok, v.Data)
				require.NotEmpty(t, list[0].(map[string]any)["field"])
				require.NotEmpty(t, list[0].(map[string]any)["error"])
			}
		})
	}
	f.t = t
	require.Len(t, f.ok("GET", f.nodePath("/peers"), nil), count)

	viewer := f.object("POST", "/api/keys", map[string]any{"name": "eyes", "role": "viewer"})
	admin := f.key
	f.key, _ = viewer["key"].(string)
	require.NotEmpty(t, f.key)
	f.ok("GET", "/api/nodes", nil)
	f.refused(403, "POST", f.nodePath("/peers"), map[string]any{"name": "x"})
	f.refused(403, "GET", f.nodePath("/peers/%s/config", p["id"]), nil)
	f.key = "wrong"
	f.refused(401, "GET", "/api/nodes", nil)
	f.key = ""
	f.refused(401, "GET", "/api/nodes", nil)
	f.key = admin
	f.ok("DELETE", "/api/keys/"+viewer["id"].(string), nil)
	public := f.peer("no key here", "public_key", key("public"))
	require.Equal(t, false, public["has_private_key"])
	v := f.refused(409, "GET", f.nodePath("/peers/%s/config", public["id"]), nil)
	require.Contains(t, fmt.Sprint(v.Data, v.Message), "private")
}
