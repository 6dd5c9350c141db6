package panel

import (
	"context"
	"fmt"
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
