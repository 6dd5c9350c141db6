package panel

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client"
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
	w.reconcile(ReconcileOptions{RemoveUnknown: true, AllowMassRemoval: true})
	require.Equal(t, drift.InSync, view().Verdict(), "a reconcile looks as well")

	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	require.False(t, w.poll(t.Context(), view().Node))
	require.Equal(t, drift.Unknown, view().Verdict(), "a poll found it dead")
	w.honest()
	require.True(t, w.poll(t.Context(), view().Node))
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
