package client

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
)

func TestFlows(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	var asked, body string
	status := 200
	f.answer = func(r *http.Request) (int, string, string, string) {
		asked = r.URL.RequestURI()
		return status, "", "", body
	}

	body = `{"interface":"wg0","total":7,"flows":[{"protocol":"tcp"}],"peers":[{"flows":7}],"drops":{"queue_full":1}}`
	got, err := c.Flows(t.Context(), "wg0", 0)
	require.NoError(t, err)
	require.Equal(t, "/v1/wg/wg0/flows", asked)
	require.Equal(t, agent.Flows{
		Interface: "wg0", Total: 7, Flows: []agent.Flow{{Protocol: "tcp"}}, Peers: []agent.PeerTraffic{{Flows: 7}},
		Drops: map[string]int64{"queue_full": 1},
	}, got)
	_, err = c.Flows(t.Context(), "wg0", 1)
	require.NoError(t, err)
	require.Equal(t, "/v1/wg/wg0/flows?limit=1", asked)

	for _, bad := range []string{
		`{}`, `[]`, `{"interface":"wg1","flows":[],"peers":[]}`, `{"interface":"wg0","flows":null,"peers":[]}`,
		`{"interface":"wg0","flows":[],"peers":null}`, `{"interface":"wg0","flows":[{}],"peers":[]}`,
	} {
		body = bad
		_, err = c.Flows(t.Context(), "wg0", 0)
		isKind(t, err, Malformed)
	}
	status, body = 409, `{"error":"no gateway runs here","code":"no_gateway"}`
	_, err = c.Flows(t.Context(), "wg0", 0)
	isKind(t, err, Refused)
	require.Contains(t, err.Error(), "no gateway runs here")
	_, err = c.Flows(t.Context(), "../x", 0)
	isKind(t, err, BadSettings)
}

func TestAccess(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	var method, match, body string
	status := 200
	f.answer = func(r *http.Request) (int, string, string, string) {
		require.Equal(t, "/v1/wg/wg0/access", r.URL.Path)
		method, match = r.Method, r.Header.Get("If-Match")
		return status, "", "", body
	}
	policy := agent.AccessPolicy{
		Access: agent.Access{Allow: []string{"any udp 53"}, Deny: []string{}, Limits: agent.Limits{Rate: 5}},
		Peers:  map[string]agent.Access{},
	}
	want := agent.AccessState{Interface: "wg0", Active: true, AccessPolicy: policy}
	body = `{"interface":"wg0","active":true,"allow":["any udp 53"],"deny":[],"limits":{"connections":0,"rate":5,"bandwidth":0},"peers":{}}`
	got, err := c.Access(t.Context(), "wg0")
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = c.PutAccess(t.Context(), "wg0", policy, Write{IfMatch: "abc"})
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, []string{"PUT", `"abc"`}, []string{method, match})

	for _, bad := range []string{
		`{}`, `{"interface":"wg1","allow":[],"deny":[],"peers":{}}`, `{"interface":"wg0","allow":null,"deny":[],"peers":{}}`,
		`{"interface":"wg0","allow":[],"deny":null,"peers":{}}`, `{"interface":"wg0","allow":[],"deny":[],"peers":null}`,
	} {
		body = bad
		_, err = c.Access(t.Context(), "wg0")
		isKind(t, err, Malformed)
		_, err = c.PutAccess(t.Context(), "wg0", policy, Write{})
		isKind(t, err, Malformed)
	}
	status, body = 422, `{"error":"allow.0: no","code":"invalid_field","field":"allow.0"}`
	_, err = c.PutAccess(t.Context(), "wg0", policy, Write{})
	isKind(t, err, Refused)
}

// TestGatewayOfTheOriginal: it is not even asked.
func TestGatewayOfTheOriginal(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	f.unnamed = true
	f.answer = func(*http.Request) (int, string, string, string) {
		t.Error("it has no such route")
		return 404, "", "", ""
	}
	c := f.client(nil)
	_, err := c.Flows(t.Context(), "wg0", 0)
	isKind(t, err, Unsupported)
	_, err = c.Access(t.Context(), "wg0")
	isKind(t, err, Unsupported)
	_, err = c.PutAccess(t.Context(), "wg0", agent.AccessPolicy{}, Write{})
	isKind(t, err, Unsupported)
}
