package panel_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/panel/web"
	"github.com/wgfleet/wgfleet/store"
)

// What the web room asks for, the service has.
var (
	_ web.Nodes      = (*panel.Service)(nil)
	_ web.Interfaces = (*panel.Service)(nil)
	_ web.Peers      = (*panel.Service)(nil)
	_ web.Drift      = (*panel.Service)(nil)
	_ web.Revisions  = (*panel.Service)(nil)
	_ web.Keys       = (*panel.Service)(nil)
	_ web.Presets    = (*panel.Service)(nil)

	_ web.Notifications = (*panel.Service)(nil)
)

// A webhook tells an event in the shape that the API has: its members are all there.
func TestWebhooksTellEventsAsTheAPI(t *testing.T) {
	st, err := store.OpenInMemory(store.NewMasterKey())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	dial, err := panel.Dialer(client.TLS{})
	require.NoError(t, err)
	allow, err := notify.ParseAllow([]string{"127.0.0.1"})
	require.NoError(t, err)
	s, err := panel.New(panel.Options{Store: st, Dial: dial, NotifyAllow: allow})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	const token = "an administrator's key"
	require.NoError(t, s.EnsureAdminKey(t.Context(), token))
	n, _, err := s.CreateNode(t.Context(), panel.NodeInput{Name: new("n1"), AgentURL: new("http://127.0.0.1:1")})
	require.NoError(t, err)
	_, err = s.Drift(t.Context(), n.ID) // nobody answers there, which is an event
	require.NoError(t, err)
	api, err := web.New(web.Options{Panel: s})
	require.NoError(t, err)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/events", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	got := httptest.NewRecorder()
	api.Handler().ServeHTTP(got, r)
	var shown struct{ Data []map[string]any }
	require.NoError(t, json.Unmarshal(got.Body.Bytes(), &shown))

	bodies := make(chan []byte, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- b
	}))
	defer receiver.Close()
	c, _, err := s.CreateChannel(t.Context(), notify.Input{Name: new("hook"), Kind: new(notify.Webhook), URL: new(notify.Secret(receiver.URL))})
	require.NoError(t, err)
	_, err = s.TestChannel(t.Context(), c.ID)
	require.NoError(t, err)
	var told struct {
		Data struct{ Events []map[string]any }
	}
	require.NoError(t, json.Unmarshal(<-bodies, &told))
	for name, value := range shown.Data[0] {
		require.Contains(t, told.Data.Events[0], name)
		if value != nil {
			require.IsType(t, value, told.Data.Events[0][name], name)
		}
	}
}

// Through the API a name that would not fit into a path is a 422 that names the field.
func TestNamesThatAreRefusedByTheAPI(t *testing.T) {
	st, err := store.OpenInMemory(store.NewMasterKey())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	dial, err := panel.Dialer(client.TLS{})
	require.NoError(t, err)
	s, err := panel.New(panel.Options{Store: st, Dial: dial})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	const token = "an administrator's key"
	require.NoError(t, s.EnsureAdminKey(t.Context(), token))
	n, _, err := s.CreateNode(t.Context(), panel.NodeInput{Name: new("n1"), AgentURL: new("http://127.0.0.1:1")})
	require.NoError(t, err)
	api, err := web.New(web.Options{Panel: s})
	require.NoError(t, err)
	for _, tt := range []struct{ method, path string }{
		{"POST", "/api/nodes"}, {"PUT", "/api/nodes/" + n.ID}, {"POST", "/api/nodes/" + n.ID + "/peers"}, {"POST", "/api/keys"},
	} {
		for _, name := range []string{"a/b", `a\b`, ".", ".."} {
			body := map[string]any{"name": name}
			switch tt.path {
			case "/api/nodes":
				body["agent_url"] = "http://127.0.0.1:1"
			case "/api/keys":
				body["role"] = panel.RoleViewer
			}
			text, err := json.Marshal(body)
			require.NoError(t, err)
			r := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(string(text)))
			r.Header.Set("Authorization", "Bearer "+token)
			got := httptest.NewRecorder()
			api.Handler().ServeHTTP(got, r)
			require.Equal(t, http.StatusUnprocessableEntity, got.Code, got.Body)
			require.Contains(t, got.Body.String(), `[{"field":"name","error":"must not hold / or`)
		}
	}
}
