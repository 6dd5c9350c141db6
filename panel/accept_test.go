package panel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// What differs on the node becomes the wish: nothing is written there, and the node is in sync.
func TestAccept(t *testing.T) {
	w := newWorld(t)
	p, kept := w.create("a", nil), w.create("b", nil)
	have, _ := w.peer(p.PublicKey)
	psk := testKey("accepted psk")
	other := engine.Peer{PublicKey: p.PublicKey, AllowedIPs: prefixesOf("10.8.0.77/32"), PersistentKeepalive: 99, PresharedKey: psk}
	w.write(engine.PeerChange{Before: &have, After: &other})
	_, err := w.ChangeInterface(t.Context(), w.id, func(i *InterfaceWish) error { i.MTU = new(1300); return nil })
	require.NoError(t, err)
	writes := w.writes.Load()

	done := w.reconcile(ReconcileOptions{Accept: true, Interface: true})
	require.Empty(t, done.Errors)
	require.ElementsMatch(t, []string{p.PublicKey.String(), "interface.mtu"}, done.Accepted)
	require.True(t, done.Verified)
	require.Equal(t, writes, w.writes.Load(), "the node is not written to")
	require.Equal(t, drift.InSync, w.drift().Status)
	after, err := w.Peer(t.Context(), w.id, p.ID)
	require.NoError(t, err)
	require.Equal(t, prefixesOf("10.8.0.77/32"), after.AllowedIPs)
	require.Equal(t, 99, *after.Keepalive)
	require.True(t, psk.Equal(after.PresharedKey))
	require.True(t, p.PrivateKey.Equal(after.PrivateKey), "the client's side stays")
	same, err := w.Peer(t.Context(), w.id, kept.ID)
	require.NoError(t, err)
	require.Equal(t, kept.UpdatedAt, same.UpdatedAt)
}

func TestAcceptExcludesPuttingRight(t *testing.T) {
	w := newWorld(t)
	_, err := w.Reconcile(t.Context(), w.id, ReconcileOptions{Accept: true, Mismatched: true})
	require.ErrorContains(t, err, "accept_mismatched")
}

// A host's peers are taken over in a few transactions, and none of them is touched.
func TestAdoptManyUntouched(t *testing.T) {
	w := newWorld(t)
	const count = 2*adoptBatch + 7
	for i := range count {
		ip := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 32)
		w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey(fmt.Sprint(i)), AllowedIPs: []netip.Prefix{ip}}})
	}
	before, writes := w.peers(), w.writes.Load()
	v, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	done := w.reconcile(ReconcileOptions{AdoptUnknown: true})
	require.Len(t, done.Adopted, count)
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)
	require.Equal(t, before, w.peers())
	require.Equal(t, writes, w.writes.Load())
	require.Equal(t, drift.InSync, w.drift().Status)
	now, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Equal(t, v.Revision+3, now.Revision)
	require.Equal(t, count, now.PeerCount)
}

// A plan is made of each node, or a sentence says why not; one can be narrowed, and is done so.
func TestPlansOfAFleet(t *testing.T) {
	w := newWorld(t)
	a, b := w.create("a", nil), w.create("b", nil)
	w.remove(a)
	w.remove(b)
	deaf, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("deaf"), AgentURL: new("http://127.0.0.1:1"), Secret: new(testSecret)})
	require.NoError(t, err)
	plans, err := w.PlanAll(t.Context(), nil, everything)
	require.NoError(t, err)
	require.Len(t, plans, 2)
	byNode := map[string]NodePlan{}
	for _, p := range plans {
		byNode[p.NodeID] = p
	}
	require.NotEmpty(t, byNode[deaf.ID].Error)
	mine := byNode[w.id].Planned
	require.Len(t, mine.Plan.Steps, 2)
	require.Empty(t, w.peers(), "nothing is done yet")

	_, err = w.Reconcile(t.Context(), w.id, ReconcileOptions{PlanID: mine.PlanID, Only: []string{"nobody"}})
	require.ErrorContains(t, err, `no action "nobody"`)
	_, err = w.Reconcile(t.Context(), deaf.ID, ReconcileOptions{PlanID: mine.PlanID})
	require.ErrorContains(t, err, "is of another node")
	done := w.reconcile(ReconcileOptions{PlanID: mine.PlanID, Only: []string{a.PublicKey.String()}})
	require.Equal(t, []string{a.PublicKey.String()}, done.Added)
	require.True(t, done.Verified)

	// A plan that was shown narrowed does no more than was shown.
	w.remove(a)
	dry := w.reconcile(ReconcileOptions{Missing: true, DryRun: true, Only: []string{b.PublicKey.String()}})
	require.Len(t, dry.Plan.Steps, 1)
	_, err = w.Reconcile(t.Context(), w.id, ReconcileOptions{PlanID: dry.PlanID, Only: []string{a.PublicKey.String()}})
	require.ErrorContains(t, err, "no action")
	done = w.reconcile(ReconcileOptions{PlanID: dry.PlanID})
	require.Equal(t, []string{b.PublicKey.String()}, done.Added)

	_, err = w.PlanAll(t.Context(), []string{"nowhere"}, everything)
	require.ErrorIs(t, err, ErrNotFound)
}
