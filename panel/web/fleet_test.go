package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	agentserver "github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/store"
)

const fleetToken = "fleet-admin-key-0123456789abcdef"

// fleet is the real panel over HTTP, and one real agent on a device in memory.
type fleet struct {
	*harness
	agent   *httptest.Server
	intrude *client.Client // changes the node behind the panel's back
	node    string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	conf := t.TempDir()
	private, err := engine.GeneratePrivateKey()
	require.NoError(t, err)
	file := "[Interface]\nPrivateKey = " + private.Reveal().String() + "\nAddress = 10.8.0.1/24, fd00:8::1/64\nListenPort = 51820\n"
	require.NoError(t, os.WriteFile(filepath.Join(conf, "wg0.conf"), []byte(file), 0o600))
	node, err := agentserver.New(agentserver.Options{
		Backend: enginetest.NewFake(), ConfDir: conf, DataDir: filepath.Join(t.TempDir(), "data"),
		Secret: nodeSecret, Up: []string{agentserver.UpAll}, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, node.Start(t.Context()))
	f := &fleet{agent: httptest.NewServer(node.Handler())}
	t.Cleanup(func() {
		f.agent.Close()
		require.NoError(t, node.Close(context.WithoutCancel(t.Context()), true))
	})

	db, err := store.OpenInMemory(store.NewMasterKey())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	dial, err := panel.Dialer(client.TLS{})
	require.NoError(t, err)
	service, err := panel.New(panel.Options{Store: db, Dial: dial})
	require.NoError(t, err)
	t.Cleanup(service.Close)
	require.NoError(t, service.EnsureAdminKey(t.Context(), fleetToken))

	f.harness = newHarness(t, func(o *Options) {
		o.Panel = service
	})
	f.intrude, err = client.New(client.Options{BaseURL: f.agent.URL, Secret: nodeSecret})
	require.NoError(t, err)
	t.Cleanup(f.intrude.Close)
	return f
}

// call expects a status, and reads the data where it is 200.
func call[D any](f *fleet, want int, method, path, body string) (D, string) {
	f.t.Helper()
	r := f.do(method, path, fleetToken, body)
	require.Equal(f.t, want, r.Code, r.Body)
	var data D
	if want == http.StatusOK {
		require.NoError(f.t, json.Unmarshal(r.Data, &data))
	}
	return data, r.Message
}

func (f *fleet) drift() driftData {
	f.t.Helper()
	d, _ := call[driftData](f, 200, "GET", "/api/drift/nodes/"+f.node, "")
	return d
}

// One fleet, once through: the real use cases, a real agent, and every answer as described.
func TestFleet(t *testing.T) {
	f := newFleet(t)
	created, _ := call[createdNodeData](f, 200, "POST", "/api/nodes", `{"name":"one","agent_url":"`+f.agent.URL+
		`","secret":"`+string(nodeSecret)+`","wg_interface":"wg0","endpoint":"vpn.example.org","ip_pool_cidr":"10.8.0.0/24, fd00:8::/64"}`)
	require.Empty(t, created.Secret)
	f.node = created.ID
	tested, message := call[nodeTestData](f, 200, "POST", "/api/nodes/"+f.node+"/test", "")
	require.True(t, tested.Authenticated, message)

	peers := "/api/nodes/" + f.node + "/peers"
	alice, _ := call[peerData](f, 200, "POST", peers, `{"name":"alice","preshared_key":"auto"}`)
	require.Equal(t, []string{"10.8.0.2/32", "fd00:8::2/128"}, alice.AllowedIPs)
	require.True(t, alice.HasPrivateKey && alice.HasPresharedKey)
	bob, _ := call[peerData](f, 200, "POST", "/api/peers", `{"name":"bob","node_selection":"auto","persistent_keepalive":30}`)
	require.Equal(t, f.node, bob.NodeID)
	call[none](f, 409, "POST", peers, `{"name":"thief","allowed_ips":["10.8.0.2/32"]}`)
	call[none](f, 422, "POST", peers, `{"name":"loud","persistent_keepalive":65536}`)
	require.Equal(t, "in_sync", f.drift().Status)

	r := f.do("GET", peers+"/"+alice.ID+"/config", fleetToken, "")
	require.Equal(t, 200, r.Code)
	require.Contains(t, r.Body.String(), "PrivateKey = ")
	require.Equal(t, 200, f.do("GET", peers+"/"+alice.ID+"/qr", fleetToken, "").Code)

	f.putRight(bob)
	f.goAway(peers, alice)
}

// putRight lets somebody remove bob and add a stranger, and reconciles.
func (f *fleet) putRight(bob peerData) {
	t := f.t
	stranger, err := engine.GeneratePrivateKey()
	require.NoError(t, err)
	_, err = f.intrude.Apply(t.Context(), "wg0", agent.Apply{Changes: &[]agent.Change{
		{Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: bob.PublicKey}},
		{Op: agent.OpPut, PeerBody: agent.PeerBody{PublicKey: stranger.PublicKey().String(), AllowedIPs: &[]string{"10.8.0.99/32"}}},
	}}, client.Write{})
	require.NoError(t, err)
	d := f.drift()
	require.Equal(t, driftSummary{UnknownCount: 1, ForeignCount: 1, MissingCount: 1, TotalIssues: 2}, d.Summary)
	require.Equal(t, bob.ID, d.MissingPeers[0].PeerID)
	require.Equal(t, stranger.PublicKey().String(), d.UnknownPeers[0].PublicKey)

	reconcile := "/api/drift/nodes/" + f.node + "/reconcile"
	plan, message := call[reconcileData](f, 200, "POST", reconcile, `{"dry_run":true,"remove_unknown":true}`)
	require.Equal(t, "Would add 1 peers, would update 0 peers, would remove 1 peers, 0 errors", message)
	require.Len(t, plan.Plan.Actions, 2)
	require.Equal(t, d.Summary, f.drift().Summary, "a dry run writes nothing")

	done, message := call[reconcileData](f, 200, "POST", reconcile, "")
	require.Equal(t, "Added 1 peers, Updated 0 peers, 0 errors", message)
	require.True(t, done.Verified)
	require.Equal(t, driftSummary{UnknownCount: 1, ForeignCount: 1, TotalIssues: 1}, done.Residual.Summary, "nobody asked to remove the stranger")
	done, message = call[reconcileData](f, 200, "POST", reconcile, `{"remove_unknown":true}`)
	require.Equal(t, "Added 0 peers, Updated 0 peers, Removed 1 peers, 0 errors", message)
	require.True(t, done.Verified)
	require.Equal(t, "in_sync", f.drift().Status)
}

// goAway takes the agent off the network: what is not known is not in sync.
func (f *fleet) goAway(peers string, alice peerData) {
	t := f.t
	f.agent.Close()
	d := f.drift()
	require.Equal(t, "unknown", d.Status)
	require.Nil(t, d.HasDrift)
	require.NotEmpty(t, d.Error)
	r := f.do("DELETE", peers+"/"+alice.ID, fleetToken, "")
	require.Equal(t, http.StatusBadGateway, r.Code)
	var problem nodeProblem
	require.NoError(t, json.Unmarshal(r.Data, &problem))
	require.Equal(t, f.node, problem.NodeID)
	call[peerData](f, 200, "GET", peers+"/"+alice.ID, "")
	call[none](f, 200, "DELETE", peers+"/"+alice.ID+"?allow_offline=true", "")
	call[none](f, 404, "GET", peers+"/"+alice.ID, "")

	call[nodeData](f, 200, "POST", "/api/nodes/"+f.node+"/toggle", `{"enabled":false}`)
	all, _ := call[fleetDriftData](f, 200, "GET", "/api/drift/nodes", "")
	require.Equal(t, fleetSummary{TotalNodes: 1, NodesDisabled: 1}, all.Summary)
	require.Equal(t, disabledNode, all.Nodes[f.node].Error)
}
