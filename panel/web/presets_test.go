package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel"
)

func given[T any](v T) panel.Optional[T] { return panel.Optional[T]{Set: true, Value: &v} }

func null[T any]() panel.Optional[T] { return panel.Optional[T]{Set: true} }

// Every field of a body reaches the use case: given, null, and left out. A preview takes what a change takes.
func TestBodiesOfGroupsAndTemplates(t *testing.T) {
	h := newHarness(t)
	for path, method := range map[string]string{"/api/groups": http.MethodPost, "/api/groups/g1": http.MethodPut, "/api/groups/g1/preview": http.MethodPost} {
		r := h.do(method, path, adminToken, `{"name":"n","description":"d","override_dns":"1.1.1.1","override_mtu":1300,"override_keepalive":null}`)
		require.Equal(t, http.StatusOK, r.Code, r.Body)
		require.Equal(t, panel.GroupInput{Name: new("n"), Description: new("d"), Overrides: panel.ValuesInput{
			DNS: given("1.1.1.1"), MTU: given(1300), Keepalive: null[int](),
		}}, h.fake.groupInput)
	}
	for path, method := range map[string]string{"/api/templates": http.MethodPost, "/api/templates/t1": http.MethodPut, "/api/templates/t1/preview": http.MethodPost} {
		r := h.do(method, path, adminToken, `{"name":"n","kind":"node","dns":null,"mtu":1300,"keepalive":5,"endpoint_allowed_ip":"::/0","hooks":{"pre_up":["a"],"post_down":["b"]},"ip_pool_cidr":"10.0.0.0/8"}`)
		require.Equal(t, http.StatusOK, r.Code, r.Body)
		require.Equal(t, panel.TemplateInput{
			Name: new("n"), Kind: new("node"), IPPoolCIDR: new("10.0.0.0/8"),
			Values: panel.ValuesInput{DNS: null[string](), MTU: given(1300), Keepalive: given(5), EndpointAllowedIP: given("::/0")},
			Hooks:  given(agent.Hooks{PreUp: []string{"a"}, PostDown: []string{"b"}}),
		}, h.fake.templateInput)
	}
	require.Equal(t, http.StatusOK, h.do(http.MethodPut, "/api/templates/t1", adminToken, `{"hooks":null}`).Code)
	require.Equal(t, panel.TemplateInput{Hooks: null[agent.Hooks]()}, h.fake.templateInput)
}

func TestPlacesOfNodesAndPeers(t *testing.T) {
	h := newHarness(t)
	for path, method := range map[string]string{"/api/nodes/n1": http.MethodPut, "/api/nodes/n1/preview": http.MethodPost} {
		require.Equal(t, http.StatusOK, h.do(method, path, adminToken, `{"group_id":"g1","template_id":null}`).Code)
		require.Equal(t, given("g1"), h.fake.nodeInput.GroupID)
		require.Equal(t, null[string](), h.fake.nodeInput.TemplateID)
	}
	require.Equal(t, http.StatusOK, h.do(http.MethodPut, "/api/nodes/n1/peers/p1", adminToken, `{"template_id":"t1"}`).Code)
	require.Equal(t, given("t1"), h.fake.peerInput.TemplateID)
	require.Equal(t, http.StatusOK, h.get("/api/nodes/n1/effective?peer_id=p1").Code)
	require.Equal(t, "p1", h.fake.effectiveOf)

	n := h.fake.nodes["n1"]
	n.GroupID, n.TemplateID = "g1", "t1"
	h.fake.nodes["n1"] = n
	require.Contains(t, h.get("/api/nodes/n1").Body.String(), `"group_id":"g1","template_id":"t1"`)
	p := h.fake.peers["p1"]
	p.TemplateID, p.ConfigStale = "t2", true
	h.fake.peers["p1"] = p
	for _, path := range []string{"/api/nodes/n1/peers/p1", "/api/nodes/n1/peers", "/api/peers"} {
		body := h.get(path).Body.String()
		require.Contains(t, body, `"template_id":"t2"`)
		require.Contains(t, body, `"client_config_stale":true`)
	}
}

// A file that was handed out counts as fetched; one that could not be does not.
func TestFetchedFiles(t *testing.T) {
	h := newHarness(t)
	for i, path := range []string{"/api/nodes/n1/peers/p1/config", "/api/nodes/n1/peers/p1/qr"} {
		require.Equal(t, http.StatusForbidden, h.do(http.MethodGet, path, viewerToken, "").Code)
		require.Len(t, h.fake.fetched, i)
		require.Equal(t, http.StatusOK, h.get(path).Code)
		require.Len(t, h.fake.fetched, i+1)
		require.Equal(t, h.fake.config, h.fake.fetched[i].Text)
	}
	h.fake.config = strings.Repeat("x", 10_000)
	require.Equal(t, http.StatusUnprocessableEntity, h.get("/api/nodes/n1/peers/p1/qr").Code)
	require.Len(t, h.fake.fetched, 2)
}
