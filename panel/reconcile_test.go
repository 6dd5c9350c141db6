package panel

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client/originaltest"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// remove is somebody else's removal of a peer.
func (w *world) remove(p PeerView) {
	w.t.Helper()
	have, ok := w.peer(p.PublicKey)
	require.True(w.t, ok)
	w.write(engine.PeerChange{Before: &have})
}

// onApply does something before an apply reaches the agent; where it returns true, the agent
// applies and its answer is lost.
func (w *world) onApply(do func() (lost bool)) {
	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/apply") && do() {
			w.agent.Handler().ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		return false
	}))
}

// Two nodes of the panel are one interface: neither removes, adopts or robs the other's peers.
func TestTwoNodesOnOneInterface(t *testing.T) {
	for _, met := range []bool{true, false} {
		w := newWorld(t)
		own := w.create("own", nil)
		twin, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("twin"), AgentURL: &w.direct.URL, Secret: new(testSecret)})
		require.NoError(t, err)
		theirs := engine.Peer{PublicKey: publicKey("theirs"), AllowedIPs: prefixesOf("10.8.0.2/32", "10.8.0.50/32")}
		if met {
			w.remove(own)
			_, err := w.CreatePeer(t.Context(), twin.ID, PeerInput{PublicKey: new(theirs.PublicKey.String()), AllowedIPs: new([]string{"10.8.0.2/32", "10.8.0.50/32"})})
			require.NoError(t, err)
			done := w.reconcile(everything)
			require.Len(t, done.Errors, 1)
			require.Contains(t, done.Errors[0].Error, "10.8.0.2/32 is on peer "+theirs.PublicKey.String()+", which belongs to node twin")
			have, _ := w.peer(theirs.PublicKey)
			require.Equal(t, theirs.AllowedIPs, have.AllowedIPs)
		} else {
			w.write(engine.PeerChange{After: &engine.Peer{PublicKey: theirs.PublicKey}})
		}
		for _, o := range []ReconcileOptions{{PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true}, {PruneForeign: true, DryRun: true}} {
			_, err = w.Reconcile(t.Context(), w.id, o)
			require.ErrorIs(t, err, ErrConflict)
			require.ErrorContains(t, err, "node twin manages the same interface")
		}
		_, err = w.Reconcile(t.Context(), w.id, ReconcileOptions{AdoptUnknown: true})
		require.ErrorContains(t, err, "node twin manages the same interface")
		_, there := w.peer(theirs.PublicKey)
		require.True(t, there)
		require.NoError(t, w.DeleteNode(t.Context(), twin.ID))
		require.Len(t, w.reconcile(ReconcileOptions{PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true}).Removed, 1)
	}
}

func TestSameInterface(t *testing.T) {
	at := func(url string) Node { return Node{AgentURL: url, WGInterface: "wg0"} }
	for _, url := range []string{"http://127.0.0.1:80", "HTTP://LocalHost", "http://[::1]:80/"} {
		require.True(t, sameInterface(at("http://127.0.0.1"), at(url)), url)
	}
	for _, url := range []string{"http://127.0.0.1:81", "https://127.0.0.1", "http://192.0.2.1"} {
		require.False(t, sameInterface(at("http://127.0.0.1"), at(url)), url)
	}
	original, alias := at("http://a"), at("http://b")
	original.SeenPublicKey, alias.SeenPublicKey = "k", "k"
	require.True(t, sameInterface(original, alias))
	alias.WGInterface = "wg1"
	require.False(t, sameInterface(original, alias))
}

// The agent applied, and its answer was lost: what is there counts as done.
func TestReconcileWithoutAnAnswer(t *testing.T) {
	w := newWorld(t)
	p := w.create("a", nil)
	w.remove(p)
	w.onApply(func() bool { return true })
	done := w.reconcile(everything)
	require.Equal(t, []string{p.PublicKey.String()}, done.Added)
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)

	w.remove(p)
	var lost atomic.Bool
	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/apply") {
			lost.Store(true)
		}
		if lost.Load() {
			panic(http.ErrAbortHandler)
		}
		return false
	}))
	_, err := w.Reconcile(t.Context(), w.id, everything)
	require.ErrorIs(t, err, ErrNode)
	require.ErrorContains(t, err, "what of it was done is not known")
	require.Contains(t, w.logs.String(), `msg="not reconciled"`)

	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/apply") {
			panic(http.ErrAbortHandler)
		}
		return false
	}))
	_, err = w.Reconcile(t.Context(), w.id, everything)
	require.ErrorIs(t, err, ErrNode)
	require.NotContains(t, err.Error(), "not known", "it was seen that nothing was done")
}

// The caller hangs up while the agent writes.
func TestWritingOutlivesItsCaller(t *testing.T) {
	w := newWorld(t)
	p := w.create("a", nil)
	w.remove(p)
	ctx, hangUp := context.WithCancel(t.Context())
	w.onApply(func() bool { hangUp(); return false })
	done, err := w.Reconcile(ctx, w.id, everything)
	require.NoError(t, err)
	require.True(t, done.Verified)
	require.Equal(t, []string{p.PublicKey.String()}, done.Added)

	_, err = w.ChangeInterface(t.Context(), w.id, func(i *InterfaceWish) error { i.FwMark = new(uint32(51)); return nil })
	require.NoError(t, err)
	ctx, hangUp = context.WithCancel(t.Context())
	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			hangUp()
		}
		return false
	}))
	require.NoError(t, w.SyncInterface(ctx, w.id))
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Equal(t, drift.InSync, w.drift().Status)
}

// What was agreed to is what is done, or nothing.
func TestPlanID(t *testing.T) {
	w := newWorld(t)
	a := w.create("a", nil)
	w.remove(a)
	dry := everything
	dry.DryRun = true
	agreed := everything
	agreed.PlanID = w.reconcile(dry).PlanID
	require.NotEmpty(t, agreed.PlanID)
	refused := func(o ReconcileOptions, what ...string) {
		t.Helper()
		writes := w.writes.Load()
		_, err := w.Reconcile(t.Context(), w.id, o)
		require.ErrorIs(t, err, ErrConflict)
		for _, text := range what {
			require.ErrorContains(t, err, text)
		}
		require.Equal(t, writes, w.writes.Load())
	}
	other := agreed
	other.Atomic = true
	refused(other, "the options are others")
	other.PlanID = "7"
	refused(other, "plan 7 is not known")

	stranger := engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.8.0.2/32")}
	w.write(engine.PeerChange{After: &stranger})
	refused(agreed, "what is on the node", stranger.PublicKey.String()+" came")
	w.write(engine.PeerChange{Before: &stranger})
	b := w.create("b", nil)
	refused(agreed, "what the panel wants")
	require.NoError(t, w.DeletePeer(t.Context(), w.id, b.ID, false))

	agreed.AllowMassRemoval = true // allows more, and changes nothing
	done := w.reconcile(agreed)
	require.Equal(t, []string{a.PublicKey.String()}, done.Added)
	require.Equal(t, agreed.PlanID, done.PlanID)
	refused(agreed, "what is on the node")
}

// The original agent dies half-way: what it did is in the answer.
func TestOriginalAgentDiesHalfWay(t *testing.T) {
	old := originaltest.New(testSecret, testKey("node"))
	var left atomic.Int64
	left.Store(100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && left.Add(-1) < 0 {
			panic(http.ErrAbortHandler)
		}
		if left.Load() < 0 {
			panic(http.ErrAbortHandler)
		}
		old.ServeHTTP(w, r)
	}))
	defer server.Close()
	s, _, _ := newService(t, nil)
	n, _, err := s.CreateNode(t.Context(), NodeInput{Name: new("old"), AgentURL: &server.URL, Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24")})
	require.NoError(t, err)
	for range 3 {
		p, err := s.CreatePeer(t.Context(), n.ID, PeerInput{})
		require.NoError(t, err)
		old.Remove(p.PublicKey.String())
	}
	left.Store(2)
	done, err := s.Reconcile(t.Context(), n.ID, everything)
	require.NoError(t, err)
	require.Len(t, done.Added, 2)
	require.Len(t, done.Errors, 1)
	require.False(t, done.Verified)
	require.Equal(t, drift.Unknown, done.Residual.Status)
}

type originalAgent struct{ Agent }

func (originalAgent) Original() bool { return true }

func TestOriginalAgentIsGivenTime(t *testing.T) {
	w := writer{agent: originalAgent{}, plan: drift.Plan{Steps: make([]drift.Step, 1000)}}
	require.Equal(t, 1000*time.Second, w.limit())
	w.plan.Steps = nil
	require.Equal(t, DefaultWriteTimeout, w.limit())
}
