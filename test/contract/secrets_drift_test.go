package contract

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hook is a webhook's receiver.
type hook struct {
	mu   sync.Mutex // protects body
	body strings.Builder
	got  chan struct{} // capacity 1
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.body.Write(b)
	_ = r.Header.Write(&h.body)
	select {
	case h.got <- struct{}{}:
	default:
	}
}

// Drift, plans, reconciliations, adoption, revisions, rollouts, notifications and all that they leave in answers,
// events, streams, webhooks, logs and the store is searched for every secret of the run.
func TestNoSecretLeavesByDrift(t *testing.T) {
	receiver := &hook{got: make(chan struct{}, 1)}
	there := httptest.NewServer(receiver)
	defer there.Close()
	f := newFleet(t, "WG_AGENT_LOG_LEVEL=DEBUG", "WGFLEET_NOTIFY_ALLOW=127.0.0.1/32")
	channel := f.object("POST", "/api/notifications", map[string]any{"name": "here", "kind": "webhook", "url": there.URL + "/token-of-the-url", "debounce": "0s"})
	p := f.peer("laptop", "preshared_key", "auto")
	config := f.ok("GET", f.nodePath("/peers/%s/config", p["id"]), nil).(string)
	secrets := map[string]string{
		"shared secret": secret, "administrator's key": f.key, "webhook's secret": channel["secret"].(string), "stranger's preshared key": key("stranger's psk"),
		"rotated preshared key": key("rotated"),
	}
	for _, name := range []string{"PrivateKey", "PresharedKey"} {
		m := regexp.MustCompile(name + ` = (\S+)`).FindStringSubmatch(config)
		require.NotNil(t, m, config)
		secrets[name] = m[1]
	}
	secrets["bare webhook secret"] = strings.TrimPrefix(secrets["webhook's secret"], "whsec_")

	// What the host does: another preshared key for ours, and a stranger with one.
	f.agentPeer("PUT", p["public_key"].(string), map[string]any{"preshared_key": key("another")})
	secrets["another preshared key"] = key("another")
	f.agentPeer("POST", "", map[string]any{"public_key": key("stranger"), "allowed_ips": []string{"10.99.0.1/32"}, "preshared_key": key("stranger's psk")})

	var said strings.Builder
	hear := func(method, path string, body any) map[string]any {
		_, v, header := f.call(method, path, body)
		text, err := json.Marshal(v)
		require.NoError(t, err)
		said.Write(text)
		require.NoError(t, header.Write(&said))
		data, _ := v.Data.(map[string]any)
		return data
	}
	drift := "/api/drift/nodes/" + f.id
	hear("GET", drift, nil)
	group := hear("POST", "/api/groups", map[string]any{"name": "office"})
	template := hear("POST", "/api/templates", map[string]any{"name": "phones", "kind": "peer", "mtu": 1380})
	hear("PUT", "/api/drift/policy", map[string]any{"max_delete_percent": 60})
	rule := hear("POST", "/api/drift/rules", map[string]any{"action": "protect", "allowed_ips": "10.50.0.0/16"})
	hear("POST", drift+"/plan", nil)
	hear("POST", f.nodePath("/adopt"), nil)
	hear("POST", drift+"/reconcile", nil)
	hear("PUT", f.nodePath("/peers/%s", p["id"]), map[string]any{"preshared_key": key("rotated"), "expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
	hear("POST", f.nodePath("/revisions/2/rollback"), nil)
	rollout := hear("POST", "/api/drift/reconcile", nil)
	hear("POST", "/api/notifications/"+channel["id"].(string)+"/test", nil)
	select {
	case <-receiver.got:
	case <-time.After(30 * time.Second):
		t.Fatal("the webhook was never called")
	}
	said.WriteString(f.stream(t, 5))

	// And all that can be read.
	ids := map[string]any{
		"/api/groups": group["id"], "/api/templates": template["id"], "/api/drift/rules": rule["id"], "/api/drift/rollouts": rollout["id"],
		"/api/notifications": channel["id"],
	}
	count := 0
	for path, operations := range f.openAPI(t) {
		if _, get := operations["get"]; !get || strings.HasSuffix(path, "/config") || strings.HasSuffix(path, "/qr") {
			continue // the two that hand a secret out, to an administrator
		}
		id := f.id
		for prefix, other := range ids {
			if strings.HasPrefix(path, prefix+"/") {
				id = other.(string)
			}
		}
		status, v, _ := f.call("GET", strings.NewReplacer("{id}", id, "{peer_id}", p["id"].(string), "{revision}", "2").Replace(path), nil)
		require.NotEqual(t, http.StatusNotFound, status, path)
		text, err := json.Marshal(v)
		require.NoError(t, err)
		said.Write(text)
		count++
	}
	require.Greater(t, count, 25)
	require.Contains(t, said.String(), "adopted 1", "the log tells of it")
	require.Equal(t, 0, f.Stop(), f.Log.String())

	log := strings.Replace(f.Log.String(), f.key, "", 1) // printed once, at the start that made it
	stored := filesBelow(t, filepath.Join(f.dir, "data", "panel"))
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	require.NotZero(t, receiver.body.Len())
	for name, s := range secrets {
		require.NotContains(t, said.String(), s, "%s in an answer", name)
		require.NotContains(t, log, s, "%s in the log", name)
		require.NotContains(t, stored, s, "%s unsealed in the store", name)
		require.NotContains(t, receiver.body.String(), s, "%s in a webhook", name)
	}
	require.NotContains(t, said.String()+log, "token-of-the-url", "a webhook's address may be its password")
}

// openAPI returns the paths of the description, with their operations.
func (f *fleet) openAPI(t *testing.T) map[string]map[string]any {
	t.Helper()
	res, err := panelHTTP.Get(f.PanelURL + "/api/openapi.json")
	require.NoError(t, err)
	defer res.Body.Close()
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	require.NoError(t, json.NewDecoder(res.Body).Decode(&doc))
	return doc.Paths
}

// stream reads so many events of the stream, from the first that is kept on.
func (f *fleet) stream(t *testing.T, events int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.PanelURL+"/api/events?since=2000-01-01T00:00:00Z", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+f.key)
	req.Header.Set("Accept", "text/event-stream")
	res, err := panelHTTP.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	var all strings.Builder
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for seen := 0; seen < events; {
		require.True(t, lines.Scan(), "the stream ended")
		all.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "data:") {
			seen++
		}
	}
	return all.String()
}
