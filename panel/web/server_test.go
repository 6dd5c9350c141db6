package web

import (
	"bytes"
	"encoding/json"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
	"rsc.io/qr"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
)

func TestNewNeedsItsUseCases(t *testing.T) {
	_, err := New(Options{})
	require.ErrorContains(t, err, "needed")
	f := newFake()
	s, err := New(Options{Panel: f})
	require.NoError(t, err, "the rest has defaults")
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Equal(t, http.StatusNotFound, rec.Code, "no gatherer, no metrics")
}

func TestDescription(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodGet, "/api/openapi.json", "", "")
	doc, err := openapi3.NewLoader().LoadFromData(r.Body.Bytes())
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			require.NotEmpty(t, o.Summary, "%s %s", method, path)
			require.False(t, ids[o.OperationID], o.OperationID)
			ids[o.OperationID] = true
			require.Equal(t, o.Extensions["x-role"] == "open", len(*o.Security) == 0, path)
		}
	}
	require.Len(t, ids, len(h.server.routes))
}

func TestDocs(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodGet, "/api/docs", "", "")
	require.Equal(t, http.StatusOK, r.Code)
	page := r.Body.String()
	for _, row := range h.server.routes {
		require.Contains(t, page, "<b>"+row.method+"</b> "+row.path+"<")
	}
	for _, elsewhere := range []string{"http://", "https://", "<script", "src=", "<link"} {
		require.NotContains(t, page, elsewhere)
	}
	require.Contains(t, page, "<style>"+docsStyle+"</style>", "the policy's hash is of this text")
	require.Contains(t, r.Header().Get("Content-Security-Policy"), "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-")
}

func TestHeaders(t *testing.T) {
	h := newHarness(t)
	for _, r := range []response{h.get("/api/nodes/n1/peers/p1/config"), h.get("/nowhere"), h.do("GET", "/api/nodes", "", "")} {
		require.Equal(t, "nosniff", r.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", r.Header().Get("Cache-Control"))
		require.NotEmpty(t, r.Header().Get("Content-Security-Policy"))
	}
	req := from("192.0.2.1:1", adminToken)
	req.Header.Set(requestIDHeader, "my-request.1")
	require.Equal(t, "my-request.1", h.send(req).Header().Get(requestIDHeader))
	req.Header.Set(requestIDHeader, "a b\" c=d")
	require.Len(t, h.send(req).Header().Get(requestIDHeader), 26, "an id that could forge a log line is replaced")
}

func TestLogLine(t *testing.T) {
	h := newHarness(t)
	h.do(http.MethodGet, "/api/nodes/n1/peers?limit=5", viewerToken, "")
	line := h.log.String()
	require.Contains(t, line, `level=INFO msg=request method=GET route=/api/nodes/:id/peers status=200 ms=0 key="the viewer" client=192.0.2.1 request_id=`)
	require.NotContains(t, line, "limit")
	require.NotContains(t, line, "n1")
}

func TestPaging(t *testing.T) {
	h := newHarness(t)
	ids := func(r response) []string {
		require.Equal(t, http.StatusOK, r.Code)
		var nodes []struct {
			ID string `json:"id"`
		}
		require.NoError(t, json.Unmarshal(r.Data, &nodes))
		return each(nodes, func(n struct {
			ID string `json:"id"`
		},
		) string {
			return n.ID
		})
	}
	r := h.get("/api/nodes?limit=2")
	require.Equal(t, []string{"n1", "n2"}, ids(r))
	require.Equal(t, "n2", r.Header().Get("X-Next-Cursor"))
	r = h.get("/api/nodes?limit=2&cursor=n2")
	require.Equal(t, []string{"n3"}, ids(r))
	require.Empty(t, r.Header().Get("X-Next-Cursor"))

	require.Equal(t, []string{"n1", "n3"}, ids(h.get("/api/nodes/enabled")))
	r = h.get("/api/nodes/enabled?limit=1")
	require.Equal(t, []string{"n1"}, ids(r))
	r = h.get("/api/nodes/enabled?limit=1&cursor=" + r.Header().Get("X-Next-Cursor"))
	require.Equal(t, []string{"n3"}, ids(r), "a page is filled past disabled nodes")
	require.Equal(t, "[]", string(h.get("/api/keys?limit=1&cursor=k1").Data))
	clear(h.fake.nodes)
	require.Equal(t, "[]", string(h.get("/api/nodes").Data))
	require.Equal(t, "[]", string(h.get("/api/nodes/enabled").Data))
	require.Equal(t, "[]", string(h.get("/api/peers?q=nobody").Data))
}

func TestClientFiles(t *testing.T) {
	h := newHarness(t)
	r := h.get("/api/nodes/n1/peers/p1/config")
	require.Equal(t, "text/plain; charset=utf-8", r.Header().Get("Content-Type"))
	require.Equal(t, `attachment; filename="Alice-s-phone.conf"`, r.Header().Get("Content-Disposition"))
	require.Equal(t, h.fake.config, r.Body.String())

	r = h.get("/api/nodes/n1/peers/p1/qr")
	require.Equal(t, "image/png", r.Header().Get("Content-Type"))
	img, err := png.Decode(bytes.NewReader(r.Body.Bytes()))
	require.NoError(t, err)
	code, err := qr.Encode(h.fake.config, qr.M)
	require.NoError(t, err)
	const border = 4 // modules, of which a reader needs as many
	require.Equal(t, (code.Size+2*border)*pixelsPerModule, img.Bounds().Dx())
	for y := range code.Size {
		for x := range code.Size {
			red, _, _, _ := img.At((x+border)*pixelsPerModule+1, (y+border)*pixelsPerModule+1).RGBA()
			require.Equal(t, code.Black(x, y), red == 0)
		}
	}

	h.fake.config = strings.Repeat("x", 2500)
	require.Equal(t, http.StatusOK, h.get("/api/nodes/n1/peers/p1/qr").Code, "with less error correction")
	h.fake.config = strings.Repeat("x", 4000)
	require.Equal(t, http.StatusUnprocessableEntity, h.get("/api/nodes/n1/peers/p1/qr").Code)
}

func TestFileName(t *testing.T) {
	for peer, want := range map[string]string{
		"wg0": "wg0.conf", "": "peer.conf", "../../etc/passwd": "etc-passwd.conf", "-rf": "rf.conf", "...": "peer.conf",
		"a\r\nSet-Cookie: x": "a--Set-Cookie.conf", "日本": "peer.conf", `x"; y`: "x---y.conf", "a-very-long-name-indeed": "a-very-long-nam.conf",
	} {
		require.Equal(t, want, fileName(peer))
	}
	rapid.Check(t, func(t *rapid.T) {
		name := fileName(rapid.String().Draw(t, "peer"))
		require.Regexp(t, `^[A-Za-z0-9_=+][A-Za-z0-9_=+.-]{0,14}\.conf$`, name)
		require.True(t, utf8.ValidString(name))
	})
}

func TestToggleAndPlace(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodPost, "/api/nodes/n1/toggle", adminToken, `{"enabled":false}`)
	require.Equal(t, "Node disabled", r.Message)
	require.False(t, *h.fake.nodeInput.Enabled)
	require.Nil(t, h.fake.nodeInput.Name)

	for body, want := range map[string]string{`{}`: "auto", `{"node_selection":"auto"}`: "auto", `{"node_selection":"n3","name":"x"}`: "n3"} {
		require.Equal(t, http.StatusOK, h.do(http.MethodPost, "/api/peers", adminToken, body).Code)
		require.Equal(t, want, h.fake.placed)
	}
	require.Equal(t, http.StatusNotFound, h.do(http.MethodPost, "/api/peers", adminToken, `{"node_selection":"n9"}`).Code)

	for path, up := range map[string]bool{"enable": true, "disable": false} {
		h.do(http.MethodPost, "/api/nodes/n1/interface/"+path, adminToken, "")
		require.Equal(t, up, *h.fake.up)
	}
}

func TestAllowOffline(t *testing.T) {
	h := newHarness(t)
	const peer = "/api/nodes/n1/peers/p1"
	for _, tt := range []struct {
		path, body string
		want       bool
	}{
		{peer, "", false},
		{peer + "?allow_offline=true", "", true},
		{peer + "?allow_offline=false", "", false},
		{peer, `{"allow_offline":true}`, true},
	} {
		require.Equal(t, http.StatusOK, h.do(http.MethodDelete, tt.path, adminToken, tt.body).Code)
		require.Equal(t, tt.want, h.fake.offline)
	}
	h.do(http.MethodPut, peer, adminToken, `{"allow_offline":true}`)
	require.True(t, h.fake.peerInput.AllowOffline)
}

// Every answer of every route, and every log line, is searched for every secret there is. Only
// five routes may show one, and none of them to a viewer.
func TestNoSecretLeaves(t *testing.T) {
	h := newHarness(t, unlimited)
	secrets := []string{
		privateKey.Reveal().String(), presharedK.Reveal().String(), string(nodeSecret),
		adminToken, viewerToken, madeToken, madeSecret, "given-secret",
		urlToken, mailPassword, hookSecret,
	}
	mayShow := map[string]string{
		"get_nodes_by_id_peers_by_peer_id_config": privateKey.Reveal().String(),
		"post_keys":  madeToken,
		"post_nodes": madeSecret,

		"post_notifications": madeSecret,
	}
	for _, token := range []string{"", "nonsense", viewerToken, adminToken} {
		for _, r := range h.server.routes {
			got := h.do(r.method, fill(r), token, sample(r))
			for _, secret := range secrets {
				if token == adminToken && mayShow[operationID(r)] == secret {
					require.Contains(t, got.Body.String(), secret)
					continue
				}
				require.NotContains(t, got.Body.String(), secret, "%s %s", r.method, r.path)
			}
		}
	}
	got := h.do(http.MethodPost, "/api/nodes", adminToken, `{"secret":"given-secret"}`)
	require.NotContains(t, got.Body.String(), "secret\"", "one that was given is not said again")
	h.do(http.MethodPost, "/api/nodes/n1/peers", adminToken, `{"private_key":`+privateKey.Reveal().String()+`}`)
	h.do(http.MethodPost, "/api/nodes/n1/peers", adminToken, `{"private_key":["`+privateKey.Reveal().String()+`"]}`)
	for _, secret := range secrets {
		require.NotContains(t, h.log.String(), secret)
	}
}

// A node that does not answer counts as offline and unknown, whatever was last seen of it.
func TestNodeMetrics(t *testing.T) {
	h := newHarness(t)
	change := func(id string, f func(*panel.NodeView)) {
		n := h.fake.nodes[id]
		f(&n)
		h.fake.nodes[id] = n
	}
	change("n1", func(n *panel.NodeView) { n.Status.Drift = drift.InSync })
	change("n2", func(n *panel.NodeView) { n.Status.Health, n.Status.Drift = panel.HealthOnline, drift.InSync })
	text := h.get("/metrics").Body.String()
	for _, line := range []string{
		`wgfleet_panel_nodes{health="online"} 1`, `wgfleet_panel_nodes{health="offline"} 0`,
		`wgfleet_panel_nodes{health="unknown"} 1`, `wgfleet_panel_nodes{health="disabled"} 1`,
		`wgfleet_panel_node_drift{node="Node 1",status="in_sync"} 1`,
		`wgfleet_panel_node_drift{node="Node 2",status="unknown"} 1`,
		`wgfleet_panel_node_drift{node="Node 3",status="unknown"} 1`,
	} {
		require.Contains(t, text, line+"\n")
	}
	change("n1", func(n *panel.NodeView) { n.Status.Drift = drift.Drifted })
	require.Contains(t, h.get("/metrics").Body.String(), `{node="Node 1",status="drift"} 1`)
	change("n1", func(n *panel.NodeView) { n.Status.Health, n.Status.Drift = panel.HealthOffline, drift.InSync })
	text = h.get("/metrics").Body.String()
	require.Contains(t, text, `wgfleet_panel_nodes{health="offline"} 1`)
	require.Contains(t, text, `{node="Node 1",status="unknown"} 1`)
	require.NotContains(t, text, drift.InSync)
}

func TestMetrics(t *testing.T) {
	h := newHarness(t)
	h.get("/api/nodes/n1")
	h.send(httptest.NewRequest("INVENTED", "/nowhere", nil))
	text := h.get("/metrics").Body.String()
	require.Contains(t, text, `wgfleet_panel_requests_total{method="GET",route="/api/nodes/:id",status="200"} 1`)
	require.Contains(t, text, `wgfleet_panel_requests_total{method="any",route="none",status="404"} 1`)
}
