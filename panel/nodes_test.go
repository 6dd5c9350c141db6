package panel

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/drift"
)

func TestOverrides(t *testing.T) {
	w := newWorld(t)
	old := w.create("before", nil)
	writes := w.writes.Load()
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{Overrides: OverridesInput{
		ListenPort: set(51821), DNS: set("8.8.8.8, corp.example"), MTU: set(1380), Keepalive: set(30), EndpointAllowedIP: set("10.0.0.0/8,fd00::/8"),
	}})
	require.NoError(t, err)
	require.Equal(t, writes, w.writes.Load(), "an override writes nothing to the node")
	r := w.drift()
	require.Equal(t, drift.Drifted, r.Status)
	require.Equal(t, []drift.Mismatch{{Field: "listen_port", Expected: 51821, Actual: 51820}}, r.Interface)
	require.Equal(t, []drift.Mismatch{{Field: "persistent_keepalive", Expected: 30, Actual: 21}}, r.Mismatched[0].Mismatches)
	require.NoError(t, w.SyncInterface(t.Context(), w.id))
	done := w.reconcile(everything)
	require.True(t, done.Verified)
	require.Equal(t, drift.InSync, done.Residual.Status)
	file, err := w.ClientConfig(t.Context(), w.id, old.ID)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(`[Interface]
PrivateKey = %s
Address = 10.8.0.2/32, fd00:8::2/128
DNS = 8.8.8.8, corp.example
MTU = 1380

[Peer]
PublicKey = %s
AllowedIPs = 10.0.0.0/8, fd00::/8
Endpoint = vpn.example.com:51821
PersistentKeepalive = 30
`, old.PrivateKey.Reveal(), publicKey("node")), file.Text)
	writes = w.writes.Load()
	require.NoError(t, w.SyncInterface(t.Context(), w.id))
	require.Equal(t, writes, w.writes.Load())
	_, err = w.UpdateNode(t.Context(), w.id, NodeInput{Overrides: OverridesInput{DNS: cleared[string]()}})
	require.NoError(t, err)
	again, err := w.Peer(t.Context(), w.id, old.ID)
	require.NoError(t, err)
	require.Equal(t, "1.1.1.1", again.Effective.DNS)
}

func (w *world) setInterface(wish InterfaceWish) (InterfaceWish, error) {
	return w.ChangeInterface(w.t.Context(), w.id, func(i *InterfaceWish) error { *i = wish; return nil })
}

// An override is part of what is wanted, and no part of the wish that a change stores.
func TestAnOverrideIsNoWish(t *testing.T) {
	w := newWorld(t)
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{Overrides: OverridesInput{ListenPort: set(51999)}})
	require.NoError(t, err)
	wish, err := w.ChangeInterface(t.Context(), w.id, func(i *InterfaceWish) error { i.MTU = new(1400); return nil })
	require.NoError(t, err)
	require.Equal(t, new(51999), wish.ListenPort)
	_, err = w.UpdateNode(t.Context(), w.id, NodeInput{Overrides: OverridesInput{ListenPort: cleared[int]()}})
	require.NoError(t, err)
	wish, err = w.Interface(t.Context(), w.id)
	require.NoError(t, err)
	require.Nil(t, wish.ListenPort)
	require.Equal(t, new(1400), wish.MTU)
	_, err = w.ChangeInterface(t.Context(), w.id, func(*InterfaceWish) error { return Invalid("mtu", "is odd") })
	require.ErrorContains(t, err, "is odd")
}

func TestInterfaceWish(t *testing.T) {
	w := newWorld(t)
	_, err := w.setInterface(InterfaceWish{ListenPort: new(0), DNS: new("!"), Table: new("x"), PublicKey: new("x")})
	bad, ok := errors.AsType[*InvalidError](err)
	require.True(t, ok)
	require.Len(t, bad.Problems, 4)
	addresses := []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24"), netip.MustParsePrefix("fd00:8::1/64")}
	wish := InterfaceWish{Addresses: &addresses, FwMark: new(uint32(51)), DNS: new("9.9.9.9")}
	_, err = w.setInterface(wish)
	require.NoError(t, err)
	require.Len(t, w.drift().Interface, 3)
	require.NoError(t, w.SyncInterface(t.Context(), w.id))
	require.Equal(t, drift.InSync, w.drift().Status)
	_, err = w.setInterface(InterfaceWish{PublicKey: new(publicKey("another").String())})
	require.NoError(t, err)
	require.ErrorIs(t, w.SyncInterface(t.Context(), w.id), ErrConflict)
	_, err = w.setInterface(InterfaceWish{})
	require.NoError(t, err)
	require.NoError(t, w.EnableInterface(t.Context(), w.id, false))
	require.Equal(t, drift.Unknown, w.drift().Status, "an interface that is down can't be compared")
	require.NoError(t, w.EnableInterface(t.Context(), w.id, true))
	require.Equal(t, drift.InSync, w.drift().Status)
}

func TestChoosesTheNodeWithTheLowestLoad(t *testing.T) {
	s, _, _ := newService(t, nil)
	ctx := t.Context()
	ids := map[string]string{}
	for _, c := range []struct {
		name     string
		weight   int
		max      int
		reach    bool
		disabled bool
	}{
		{"plain", 100, 0, true, false}, {"heavy", 300, 0, true, false}, {"dead", 9000, 0, false, false}, {"off", 9000, 0, true, true},
	} {
		url := "http://127.0.0.1:1"
		if c.reach {
			url = newHost(t, nil).proxy.URL
		}
		n, _, err := s.CreateNode(ctx, NodeInput{
			Name: &c.name, AgentURL: &url, Secret: new(testSecret), Weight: &c.weight, MaxPeers: &c.max, Enabled: new(!c.disabled), IPPoolCIDR: new("10.8.0.0/24"),
		})
		require.NoError(t, err)
		ids[n.ID] = c.name
	}
	got := map[string]int{}
	for range 8 {
		p, err := s.CreatePeer(ctx, NodeAuto, PeerInput{})
		require.NoError(t, err)
		got[ids[p.NodeID]]++
	}
	require.Equal(t, map[string]int{"plain": 2, "heavy": 6}, got)
}

func TestEnsureLocalNode(t *testing.T) {
	s, _, _ := newService(t, nil)
	ctx := t.Context()
	l := LocalNode{Name: "host", AgentURL: "http://127.0.0.1:8080", Secret: testSecret, WGInterface: "wg0", IPPools: prefixesOf("10.8.0.0/24")}
	_, _, err := s.CreateNode(ctx, NodeInput{Name: new("host"), AgentURL: new("http://10.0.0.1")})
	require.NoError(t, err)
	n, err := s.EnsureLocalNode(ctx, l)
	require.NoError(t, err)
	require.Equal(t, "host-2", n.Name)
	require.True(t, n.IsPanelNode)
	l.AgentURL, l.Secret = "http://127.0.0.1:9090", "another secret for this"
	again, err := s.EnsureLocalNode(ctx, l)
	require.NoError(t, err)
	require.Equal(t, n.ID, again.ID)
	require.Equal(t, l.AgentURL, again.AgentURL)
	require.Equal(t, l.Secret, again.Secret)
	nodes, _, err := s.Nodes(ctx, Page{})
	require.NoError(t, err)
	require.Len(t, nodes, 2)
}

func TestDeleteNode(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.create("x", nil)
	}
	calls := w.calls.Load()
	require.NoError(t, w.DeleteNode(t.Context(), w.id))
	require.Equal(t, calls, w.calls.Load(), "the agent is not contacted")
	require.Len(t, w.peers(), 3)
	require.ErrorIs(t, w.DeleteNode(t.Context(), w.id), ErrNotFound)
	_, err := w.Drift(t.Context(), w.id)
	require.ErrorIs(t, err, ErrNotFound)
	all, _, err := w.SearchPeers(t.Context(), "", Page{})
	require.NoError(t, err)
	require.Empty(t, all)
	_, _, err = w.CreateNode(t.Context(), NodeInput{Name: new("n1"), AgentURL: &w.proxy.URL})
	require.NoError(t, err, "its name is free again")
}

func TestANodeIsNotCalledAuto(t *testing.T) {
	s := newWorld(t)
	_, _, err := s.CreateNode(t.Context(), NodeInput{Name: new(NodeAuto), AgentURL: new("http://10.0.0.1")})
	require.ErrorContains(t, err, "take another name")
}

// What one node does not know may be the other's: neither may prune it.
func TestTwoNodesOnOneInterfaceDoNotPruneEachOther(t *testing.T) {
	w := newWorld(t)
	twin, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("twin"), AgentURL: &w.proxy.URL, Secret: new(testSecret)})
	require.NoError(t, err)
	w.create("laptop", nil)
	have := w.peers()
	_, err = w.Reconcile(t.Context(), twin.ID, ReconcileOptions{PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true})
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, "manages the same interface")
	require.Equal(t, have, w.peers())
	r, err := w.Reconcile(t.Context(), twin.ID, ReconcileOptions{Missing: true, Mismatched: true})
	require.NoError(t, err)
	require.Len(t, r.Residual.Unknown, 1, "shown, and kept")
}

// An agent with the same secret is still another one.
func TestNewAgentAtTheSameAddress(t *testing.T) {
	w := newWorld(t)
	w.create("laptop", nil)
	second := newHost(t, nil)
	w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
		second.agent.Handler().ServeHTTP(rw, r)
		return true
	}))
	r := w.drift()
	require.Equal(t, drift.Unknown, r.Status, "the same secret, and still not the agent that was pinned")
	require.Contains(t, r.Error, "another agent")
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{Secret: new(testSecret)})
	require.NoError(t, err)
	require.Equal(t, drift.Drifted, w.drift().Status, "accepted on purpose")
	n, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Equal(t, second.agent.ID(), n.AgentID)
}
