package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var panelHTTP = &http.Client{Timeout: time.Minute}

// fleet is a running panel with its own host as a node, spoken to by REST.
type fleet struct {
	*node
	key string
	id  string // of the panel's own node
}

// newFleet runs `serve --panel` where no interface exists yet.
func newFleet(t *testing.T, env ...string) *fleet {
	n := newNode(t, env...)
	n.args = append(n.args, "--panel")
	require.NoError(t, os.Remove(n.file()))
	f := &fleet{node: n.start()}
	b, err := os.ReadFile(filepath.Join(n.dir, "data", "admin.key"))
	require.NoError(t, err)
	f.key = strings.TrimSpace(string(b))
	nodes := f.ok("GET", "/api/nodes", nil).([]any)
	require.Len(t, nodes, 1)
	f.id = nodes[0].(map[string]any)["id"].(string)
	return f
}

type envelope struct {
	Status  bool   `json:"status"`
	Message string `json:"message"`
	Data    any    `json:"data"`
}

func (f *fleet) call(method, path string, body any) (int, envelope, http.Header) {
	f.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(body)
		require.NoError(f.t, err)
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, f.PanelURL+path, in)
	require.NoError(f.t, err)
	if f.key != "" {
		req.Header.Set("Authorization", "Bearer "+f.key)
	}
	res, err := panelHTTP.Do(req)
	require.NoError(f.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(f.t, err)
	var v envelope
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		require.NoError(f.t, json.Unmarshal(b, &v), string(b))
	} else {
		v.Data = string(b)
	}
	return res.StatusCode, v, res.Header
}

// ok calls and demands success.
func (f *fleet) ok(method, path string, body any) any {
	f.t.Helper()
	status, v, _ := f.call(method, path, body)
	require.Less(f.t, status, 300, "%s %s: %d %s %v", method, path, status, v.Message, v.Data)
	return v.Data
}

// object is ok for an answer that is one.
func (f *fleet) object(method, path string, body any) map[string]any {
	f.t.Helper()
	v, ok := f.ok(method, path, body).(map[string]any)
	require.True(f.t, ok, "%s %s", method, path)
	return v
}

// refused calls and demands that status and a sentence.
func (f *fleet) refused(want int, method, path string, body any) envelope {
	f.t.Helper()
	status, v, _ := f.call(method, path, body)
	require.Equal(f.t, want, status, "%s %s %v: %s %v", method, path, body, v.Message, v.Data)
	require.False(f.t, v.Status)
	require.NotEmpty(f.t, v.Message)
	return v
}

func (f *fleet) nodePath(format string, args ...any) string {
	return "/api/nodes/" + f.id + fmt.Sprintf(format, args...)
}

// peer makes one and returns it.
func (f *fleet) peer(name string, more ...any) map[string]any {
	f.t.Helper()
	body := map[string]any{"name": name}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return f.object("POST", f.nodePath("/peers"), body)
}

func (f *fleet) drift() map[string]any {
	f.t.Helper()
	return f.object("GET", "/api/drift/nodes/"+f.id, nil)
}

func (f *fleet) reconcile(body map[string]any) map[string]any {
	f.t.Helper()
	if body == nil {
		return f.object("POST", "/api/drift/nodes/"+f.id+"/reconcile", nil) // an empty body means the defaults
	}
	return f.object("POST", "/api/drift/nodes/"+f.id+"/reconcile", body)
}

// agentPeer changes a peer behind the panel's back.
func (f *fleet) agentPeer(method, key string, body any) {
	f.t.Helper()
	target := "/v1/wg/wg0/peers"
	if method != "POST" {
		target += "/" + key
	}
	r := f.send(method, target, body)
	require.Equal(f.t, 200, r.status, r.body)
}

// freePort returns a UDP port that nobody has.
func freePort(t *testing.T) int {
	c, err := net.ListenPacket("udp", ":0")
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// attacker stands between a panel and an agent.
type attacker struct {
	server *httptest.Server
	mode   atomic.Value // of func(*http.Response) error
	cut    atomic.Value // of func(http.ResponseWriter, *http.Request) bool
}

func newAttacker(t *testing.T, agent string) *attacker {
	u, err := url.Parse(agent)
	require.NoError(t, err)
	a := &attacker{}
	a.honest()
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(u) },
		ModifyResponse: func(r *http.Response) error { return a.mode.Load().(func(*http.Response) error)(r) },
	}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.cut.Load().(func(http.ResponseWriter, *http.Request) bool)(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(a.server.Close)
	return a
}

func (a *attacker) honest() {
	a.mode.Store(func(*http.Response) error { return nil })
	a.cut.Store(func(http.ResponseWriter, *http.Request) bool { return false })
}
