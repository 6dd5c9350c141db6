package panel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// hanging is an agent that takes a request and never answers.
type hanging struct{ polled }

func (*hanging) MAC(engine.SecretKey) string { return "" }

func (*hanging) Dump(ctx context.Context, _ string, _ client.Query) (client.Snapshot, error) {
	<-ctx.Done()
	return client.Snapshot{}, &client.Error{Kind: client.Unreachable, Reason: "the agent did not answer in time"}
}

// Many nodes that hang cost the time of one.
func TestDriftAllIsDelayedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.OpenInMemory(store.NewMasterKey())
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		s, err := New(Options{Store: st, Dial: func(Node) (Agent, error) { return &hanging{}, nil }})
		require.NoError(t, err)
		defer s.Close()
		const nodes = 8
		for i := range nodes {
			_, _, err := s.CreateNode(t.Context(), NodeInput{Name: new(fmt.Sprint("n", i)), AgentURL: new("http://agent")})
			require.NoError(t, err)
		}
		began := time.Now()
		all, err := s.DriftAll(t.Context())
		require.NoError(t, err)
		require.Equal(t, DefaultNodeTimeout, time.Since(began))
		require.Len(t, all, nodes)
		for _, r := range all {
			require.Equal(t, drift.Unknown, r.Status)
			require.Contains(t, r.Error, "in time")
		}
	})
}

// The verdict of a node lasts as long as the node answers, whoever finds that it does not.
func TestVerdict(t *testing.T) {
	w := newWorld(t)
	view := func() NodeView {
		v, err := w.Node(t.Context(), w.id)
		require.NoError(t, err)
		return v
	}
	require.Equal(t, drift.Unknown, view().Verdict(), "never looked at")
	w.drift()
	require.Equal(t, drift.InSync, view().Verdict())
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger")}})
	w.drift()
	require.Equal(t, drift.Drifted, view().Verdict())
	w.reconcile(ReconcileOptions{PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true})
	require.Equal(t, drift.InSync, view().Verdict(), "a reconcile looks as well")

	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	require.False(t, w.poll(t.Context(), view().Node))
	require.Equal(t, drift.Unknown, view().Verdict(), "a poll found it dead")
	w.honest()
	require.True(t, w.poll(t.Context(), view().Node))
	require.Equal(t, drift.Unknown, view().Verdict(), "it answers, and nobody has looked since")
	w.drift()
	require.Equal(t, drift.InSync, view().Verdict())
	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	w.drift()
	w.honest()
	require.True(t, w.poll(t.Context(), view().Node))
	require.Equal(t, drift.Unknown, view().Verdict(), "the last look saw nothing")
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{Enabled: new(false)})
	require.NoError(t, err)
	require.Equal(t, drift.Unknown, view().Verdict())
}

// An agent whose clock is off refuses every signature: nothing is known of the node, and nothing written.
func TestClockThatIsAnHourOff(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		h := newHost(t, func(o *server.Options) { o.Now = func() time.Time { return time.Now().Add(off) } })
		s, _, _ := newService(t, nil)
		n, _, err := s.CreateNode(t.Context(), NodeInput{Name: new("n1"), AgentURL: &h.proxy.URL, Secret: new(testSecret)})
		require.NoError(t, err)
		r, err := s.Drift(t.Context(), n.ID)
		require.NoError(t, err)
		require.Equal(t, drift.Unknown, r.Status)
		require.Nil(t, r.HasDrift)
		require.Contains(t, r.Error, "clock")
		_, err = s.Reconcile(t.Context(), n.ID, ReconcileOptions{Missing: true, PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true})
		require.ErrorIs(t, err, ErrNode)
		require.True(t, hasCode(err, string(client.ClockOff)), "%v", err)
		require.Zero(t, h.writes.Load())
		v, err := s.Node(t.Context(), n.ID)
		require.NoError(t, err)
		require.Equal(t, HealthOffline, v.Status.Health)
		require.Equal(t, drift.Unknown, v.Verdict())
	}
}

// failingStore lets so many reads pass, and fails then.
type failingStore struct {
	store.Store
	reads atomic.Int64
	err   error
}

func (s *failingStore) View(ctx context.Context, f func(store.Tx) error) error {
	if s.reads.Add(-1) < 0 {
		return s.err
	}
	return s.Store.View(ctx, f)
}

func (s *failingStore) Update(context.Context, func(store.Tx) error) error { return s.err }

// What can't be read is not in sync, at whichever read the store fails.
func TestDriftWithAStoreThatFails(t *testing.T) {
	w := newWorld(t)
	w.create("laptop", nil)
	require.Equal(t, drift.InSync, w.drift().Status)
	broken := &failingStore{Store: w.store, err: errors.New("the disk is gone")}
	w.o.Store = storeBorder{broken}

	_, err := w.Drift(t.Context(), w.id)
	require.ErrorIs(t, err, broken.err)
	_, err = w.DriftAll(t.Context())
	require.ErrorIs(t, err, broken.err)
	_, err = w.Reconcile(t.Context(), w.id, everything)
	require.ErrorIs(t, err, broken.err)

	broken.reads.Store(1) // the list of nodes, and no node's peers
	all, err := w.DriftAll(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, w.id, all[0].NodeID)
	require.Equal(t, drift.Unknown, all[0].Status)
	require.Nil(t, all[0].HasDrift)
	require.Contains(t, all[0].Error, "the disk is gone")
}
