package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel"
)

// Each bad input is refused with one sentence, and nothing has changed.
func TestBadInput(t *testing.T) {
	h := newHarness(t)
	const nodes, node, peers = "/api/nodes", "/api/nodes/n1", "/api/nodes/n1/peers"
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		field                    string // of a 422
	}{
		{"empty", "POST", nodes, "", 400, ""},
		{"blank", "POST", nodes, " \n", 400, ""},
		{"cut off", "POST", nodes, `{"name":"x"`, 400, ""},
		{"no JSON", "POST", nodes, `name=x`, 400, ""},
		{"two values", "POST", nodes, `{"name":"x"}{}`, 400, ""},
		{"text after", "POST", nodes, `{"name":"x"} x`, 400, ""},
		{"a list", "POST", nodes, `[]`, 400, ""},
		{"null", "POST", nodes, `null`, 400, ""},
		{"a text", "POST", nodes, `"x"`, 400, ""},
		{"not UTF-8", "POST", nodes, "{\"name\":\"\xff\"}", 400, ""},
		{"repeated", "POST", nodes, `{"name":"x","name":"y"}`, 400, ""},
		{"repeated by an escape", "POST", nodes, `{"name":"x","n\u0061me":"y"}`, 400, ""},
		{"repeated deep inside", "PUT", node + "/interface", `{"hooks":{"pre_up":[],"pre_up":["x"]}}`, 400, ""},
		{"deeper than any body", "POST", nodes, strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000), 400, ""},
		{"over 8 MiB", "POST", nodes, `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413, ""},
		{"unknown field", "POST", nodes, `{"name":"x","nam":"y"}`, 422, "nam"},
		{"another case", "POST", nodes, `{"Name":"x"}`, 422, "Name"},
		{"read only", "PUT", node, `{"id":"n2"}`, 422, "id"},
		{"Go's own name", "POST", nodes, `{"AgentURL":"x"}`, 422, "AgentURL"},
		{"the name of what is embedded", "POST", "/api/peers", `{"peerBody":{}}`, 422, "peerBody"},
		{"unknown inside", "PUT", node + "/interface", `{"hooks":{"post_upp":[]}}`, 422, "hooks.post_upp"},
		{"a number for a text", "POST", nodes, `{"name":7}`, 422, "name"},
		{"a text for a number", "POST", nodes, `{"weight":"7"}`, 422, "weight"},
		{"a fraction", "POST", nodes, `{"weight":1.5}`, 422, "weight"},
		{"more than a number holds", "POST", nodes, `{"weight":1e99}`, 422, "weight"},
		{"a text for a truth", "POST", nodes, `{"enabled":"true"}`, 422, "enabled"},
		{"an override of another type", "PUT", node, `{"override_mtu":"1380"}`, 422, "override_mtu"},
		{"null where nothing can be cleared", "PUT", node, `{"name":null}`, 422, "name"},
		{"a mark below zero", "PUT", node + "/interface", `{"fwmark":-1}`, 422, "fwmark"},
		{"an address without length", "PUT", node + "/interface", `{"addresses":["10.8.0.1"]}`, 422, "addresses"},
		{"hooks that are no object", "PUT", node + "/interface", `{"hooks":[]}`, 422, "hooks"},
		{"allowed IPs as a text", "POST", peers, `{"allowed_ips":"10.0.0.2/32"}`, 422, "allowed_ips"},
		{"allowed IPs of numbers", "POST", peers, `{"allowed_ips":[1]}`, 422, "allowed_ips"},
		{"a keepalive of words", "PUT", peers + "/p1", `{"persistent_keepalive":"off"}`, 422, "persistent_keepalive"},
		{"no node named", "POST", "/api/peers", `{"node_selection":""}`, 422, "node_selection"},
		{"neither on nor off", "POST", node + "/toggle", `{}`, 422, "enabled"},
		{"null is neither", "POST", node + "/toggle", `{"enabled":null}`, 422, "enabled"},
		{"offline perhaps", "DELETE", peers + "/p1?allow_offline=maybe", ``, 422, "allow_offline"},
		{"a mode", "PUT", "/api/drift/policy", `{"mode":7}`, 422, "mode"},
		{"an interval", "PUT", "/api/drift/policy", `{"interval":"often"}`, 422, "interval"},
		{"a window", "PUT", "/api/drift/policy", `{"windows":[{"cron":"0 2 * * *"},{"dayly":true}]}`, 422, "windows[1].dayly"},
		{"windows", "PUT", "/api/nodes/n1", `{"drift":{"windows":"all"}}`, 422, "drift.windows"},
		{"a suspension", "PUT", "/api/nodes/n1", `{"drift":{"suspended_until":"soon"}}`, 422, "drift.suspended_until"},
		{"what to heal", "PUT", "/api/nodes/n1", `{"drift":{"heal":{"all":true}}}`, 422, "drift.heal.all"},
		{"a plan of before", "POST", "/api/drift/nodes/n1/reconcile", `{"plan_id":"7"}`, 409, ""},
		{"a plan without a name", "POST", "/api/drift/nodes/n1/reconcile", `{"plan_id":""}`, 422, "plan_id"},
		{"a page of keys of none", "GET", "/api/keys?limit=0", "", 422, "limit"},
		{"a key without a role", "POST", "/api/keys", `{"name":"x"}`, 422, "role"},
		{"a key of no known role", "POST", "/api/keys", `{"name":"x","role":"root"}`, 422, "role"},
		{"a key without a name", "POST", "/api/keys", `{"role":"admin"}`, 422, "name"},
		{"a page of none", "GET", nodes + "?limit=0", "", 422, "limit"},
		{"a page below none", "GET", nodes + "/enabled?limit=-1", "", 422, "limit"},
		{"a page too large", "GET", peers + "?limit=10001", "", 422, "limit"},
		{"a page of words", "GET", "/api/peers?limit=all", "", 422, "limit"},
		{"no such node", "GET", "/api/nodes/n9", "", 404, ""},
		{"a path for an id", "GET", "/api/nodes/..%2Fn1", "", 404, ""},
		{"no such peer", "PUT", peers + "/p9", `{}`, 404, ""},
		{"a peer of another node", "GET", "/api/nodes/n2/peers/p1/config", "", 404, ""},
		{"no such path", "GET", "/api/nothing", "", 404, ""},
		{"a slash at the end", "GET", "/api/nodes/", "", 404, ""},
		{"no such method", "PATCH", nodes, "{}", 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.t, h.fake.changed = t, 0
			r := h.do(tt.method, tt.path, adminToken, tt.body)
			require.Equal(t, tt.status, r.Code, r.Body)
			require.False(t, r.Status)
			require.NotContains(t, r.Message, "\n")
			require.Less(t, len(r.Message), 300)
			if tt.status != http.StatusNotFound {
				require.Zero(t, h.fake.changed)
			}
			if tt.status == http.StatusUnprocessableEntity {
				require.Contains(t, string(r.Data), `{"field":"`+tt.field+`","error":"`)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodPost, "/api/nodes", adminToken, `{"weight":"x","name":7,"zzz":1}`)
	require.JSONEq(t, `[{"field":"name","error":"expected a text"},{"field":"weight","error":"expected a whole number"},{"field":"zzz","error":"unknown field"}]`, string(r.Data))
	require.Equal(t, "name: expected a text; weight: expected a whole number; zzz: unknown field", r.Message)
}

func TestProblemsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `"%s%d":1,`, strings.Repeat("x", 200), i)
	}
	r := newHarness(t).do(http.MethodPost, "/api/nodes", adminToken, "{"+strings.TrimSuffix(b.String(), ",")+"}")
	require.Equal(t, http.StatusUnprocessableEntity, r.Code)
	require.Equal(t, maxProblems, strings.Count(string(r.Data), "unknown field"))
	require.Less(t, r.Body.Len(), 10_000)
}

// A body of unknown length is cut at the limit as well, and one without a key is not read at all.
func TestBodyIsNotReadTooFar(t *testing.T) {
	h := newHarness(t)
	req := from("192.0.2.1:1", adminToken)
	body := &endless{}
	req.Method, req.Body, req.ContentLength = http.MethodPost, body, -1
	require.Equal(t, http.StatusRequestEntityTooLarge, h.send(req).Code)
	require.LessOrEqual(t, body.read, maxBody+maxBody/2)

	req = from("192.0.2.1:1", viewerToken)
	body = &endless{}
	req.Method, req.Body, req.ContentLength = http.MethodPost, body, -1
	require.Equal(t, http.StatusForbidden, h.send(req).Code)
	require.Zero(t, body.read)
}

// endless is a body of spaces.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += len(p)
	return len(p), nil
}

func (*endless) Close() error { return nil }

func TestMethodNotAllowed(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodPatch, "/api/nodes", "", "")
	require.Equal(t, http.StatusMethodNotAllowed, r.Code)
	require.ElementsMatch(t, []string{"GET", "POST"}, strings.Split(r.Header().Get("Allow"), ", "))
}

func TestReconcileOptions(t *testing.T) {
	h := newHarness(t)
	for body, want := range map[string]panel.ReconcileOptions{
		``:   {Missing: true, Mismatched: true},
		`{}`: {Missing: true, Mismatched: true},
		`{"reconcile_missing":false,"reconcile_mismatched":false}`: {},
		`{"remove_unknown":true,"adopt_unknown":true,"atomic":true,"dry_run":true,"allow_mass_removal":true}`: {
			Missing: true, Mismatched: true, PruneOrphaned: true, PruneForeign: true, AdoptUnknown: true, Atomic: true, DryRun: true, AllowMassRemoval: true,
		},
		`{"prune_orphaned":true,"reconcile_interface":true,"only":["x"]}`: {
			Missing: true, Mismatched: true, PruneOrphaned: true, Interface: true, Only: []string{"x"},
		},
		`{"accept_mismatched":true}`: {Missing: true, Accept: true},
	} {
		require.Equal(t, http.StatusOK, h.do(http.MethodPost, "/api/drift/nodes/n1/reconcile", adminToken, body).Code)
		require.Equal(t, want, h.fake.options)
	}
}
