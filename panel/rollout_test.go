package panel

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/event"
)

// fleetOf is a panel with several nodes, each with a peer that is missing on it.
func fleetOf(t *testing.T, size int) (w *world, hosts []*host, ids []string) {
	t.Helper()
	w = newWorld(t)
	hosts, ids = []*host{w.host}, []string{w.id}
	for i := 1; i < size; i++ {
		h := newHost(t, nil)
		n, _, err := w.CreateNode(t.Context(), NodeInput{
			Name: new(fmt.Sprintf("n%d", i+1)), AgentURL: &h.proxy.URL, Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24"),
		})
		require.NoError(t, err)
		hosts, ids = append(hosts, h), append(ids, n.ID)
	}
	for i, h := range hosts {
		_, err := w.CreatePeer(t.Context(), ids[i], PeerInput{Name: new("ann")})
		require.NoError(t, err)
		have := h.peers()[0]
		h.write(engine.PeerChange{Before: &have})
	}
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.rolloutLoop(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); run.Wait() })
	return w, hosts, ids
}

// end follows a rollout to its end.
func (w *world) end(id string) Rollout {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer stop()
	states, err := w.FollowRollout(ctx, id)
	require.NoError(w.t, err)
	var last Rollout
	for r := range states {
		last = r
	}
	require.NotEqual(w.t, RolloutRunning, last.State)
	require.False(w.t, last.EndedAt.IsZero())
	return last
}

func standing(r Rollout) string {
	parts := make([]string, len(r.Nodes))
	for i, n := range r.Nodes {
		parts[i] = fmt.Sprintf("%d:%s", n.Wave, n.State)
	}
	return strings.Join(parts, " ")
}

func TestRolloutWaveAfterWave(t *testing.T) {
	w, hosts, ids := fleetOf(t, 4)
	var atOnce, most, begun atomic.Int64
	for i, h := range hosts {
		(&world{host: h}).onApply(func() bool {
			most.Store(max(most.Load(), atOnce.Add(1)))
			defer atOnce.Add(-1)
			if n := begun.Add(1); i == 0 {
				if n != 1 {
					t.Error("another node was written to before the first wave had ended")
				}
			}
			return false
		})
	}
	ctx := event.WithActor(t.Context(), event.Actor{Kind: event.ActorKey, ID: "k", Name: "ann"})
	r, err := w.StartRollout(ctx, RolloutInput{Options: everything, NodeIDs: ids, Waves: []string{"1", "50%"}, MaxParallel: 1})
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 1}, r.Waves)
	r = w.end(r.ID)
	require.Equal(t, RolloutSucceeded, r.State)
	require.Equal(t, "1:done 2:done 2:done 3:done", standing(r))
	require.Equal(t, int64(1), most.Load())
	for i, h := range hosts {
		require.Len(t, h.peers(), 1)
		require.Equal(t, "added 1", r.Nodes[i].Message)
		require.True(t, r.Nodes[i].Result.Verified)
	}
	done := w.told(w.Service, event.Reconciled)
	require.Equal(t, "ann", done[0].Actor.Name, "who began the rollout did it")
	all, _, err := w.Events(t.Context(), event.Filter{Kinds: []event.Kind{event.RolloutStarted, event.RolloutFinished}}, Page{})
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Contains(t, all[0].Message, "4 of 4 nodes done")
}

// The first node can't be put right, be it that it does not answer or that it refuses a peer: no other one is
// touched, in this wave or the next.
func TestRolloutStopsAtTheFirstFailure(t *testing.T) {
	for _, waves := range [][]string{{"1", "rest"}, {"rest"}} {
		for _, how := range []string{"no answer", "a peer is refused"} {
			t.Run(how, func(t *testing.T) {
				w, hosts, ids := fleetOf(t, 3)
				ann, _, err := w.Peers(t.Context(), ids[0], Page{})
				require.NoError(t, err)
				if how == "no answer" {
					hosts[0].cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
						if strings.HasSuffix(r.URL.Path, "/apply") {
							panic(http.ErrAbortHandler)
						}
						return false
					}))
				} else {
					w.refuseKey(ann[0].PublicKey.String())
				}
				r, err := w.StartRollout(t.Context(), RolloutInput{Options: everything, NodeIDs: ids, Waves: waves, MaxParallel: 1})
				require.NoError(t, err)
				r = w.end(r.ID)
				require.Equal(t, RolloutFailed, r.State)
				require.Equal(t, NodeFailed, r.Nodes[0].State)
				require.NotEmpty(t, r.Nodes[0].Message)
				for i, n := range r.Nodes[1:] {
					require.Equal(t, NodeSkipped, n.State)
					require.Contains(t, n.Message, "failed before its turn came")
					require.Empty(t, hosts[i+1].peers())
					require.Equal(t, int64(1), hosts[i+1].writes.Load(), "only the peer's making")
				}
			})
		}
	}
}

func TestRolloutIsCancelled(t *testing.T) {
	w, hosts, ids := fleetOf(t, 3)
	writing, goOn := make(chan struct{}), make(chan struct{})
	(&world{host: hosts[0]}).onApply(func() bool { close(writing); <-goOn; return false })
	r, err := w.StartRollout(t.Context(), RolloutInput{Options: everything, NodeIDs: ids, MaxParallel: 1})
	require.NoError(t, err)
	<-writing
	_, err = w.CancelRollout(t.Context(), r.ID)
	require.NoError(t, err)
	_, err = w.CancelRollout(t.Context(), r.ID)
	require.NoError(t, err, "twice is no harm")
	close(goOn)
	r = w.end(r.ID)
	require.Equal(t, RolloutCancelled, r.State)
	require.Equal(t, "1:done 1:skipped 1:skipped", standing(r))
	_, err = w.CancelRollout(t.Context(), r.ID)
	require.ErrorIs(t, err, ErrConflict)
	list, err := w.Rollouts(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// What was shown is done, and where a node is another since, nothing is.
func TestRolloutOfPlans(t *testing.T) {
	w, hosts, ids := fleetOf(t, 2)
	o := everything
	plans, err := w.PlanAll(t.Context(), nil, o)
	require.NoError(t, err)
	in := RolloutInput{}
	for _, p := range plans {
		in.Plans = append(in.Plans, RolloutPlan{NodeID: p.NodeID, PlanID: p.Planned.PlanID})
	}
	hosts[1].write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("meanwhile")}})
	r, err := w.StartRollout(t.Context(), in)
	require.NoError(t, err)
	r = w.end(r.ID)
	require.Equal(t, "1:done 1:failed", standing(r))
	require.Contains(t, r.Nodes[1].Message, "the plan does not hold any more")
	require.Len(t, hosts[0].peers(), 1)
	require.Len(t, hosts[1].peers(), 1)
	require.Equal(t, ids[1], r.Nodes[1].NodeID)
}

func TestRefusedRollouts(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		in   RolloutInput
		want string
	}{
		"unknown":       {RolloutInput{NodeIDs: []string{"x"}}, `no node "x"`},
		"twice":         {RolloutInput{NodeIDs: []string{w.id, w.id}}, "named twice"},
		"unknown group": {RolloutInput{GroupID: "x"}, `no group "x"`},
		"two choices":   {RolloutInput{GroupID: "x", NodeIDs: []string{w.id}}, "chosen twice"},
		"waves":         {RolloutInput{Waves: []string{"all"}}, "waves: "},
		"parallel":      {RolloutInput{MaxParallel: 65}, "max_parallel: "},
		"plan":          {RolloutInput{Plans: []RolloutPlan{{NodeID: w.id, PlanID: "x"}}}, "plan x is not known"},
		"no plan id":    {RolloutInput{Plans: []RolloutPlan{{NodeID: w.id}}}, "has no plan_id"},
		"options":       {RolloutInput{Options: ReconcileOptions{AdoptUnknown: true, PruneForeign: true}}, "excludes removing"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.StartRollout(t.Context(), c.in)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := w.Rollout(t.Context(), "x")
	require.ErrorIs(t, err, ErrNotFound)
}

// A rollout may take longer than plans are kept for others.
func TestRolloutKeepsItsPlans(t *testing.T) {
	w, hosts, _ := fleetOf(t, 2)
	plans, err := w.PlanAll(t.Context(), nil, everything)
	require.NoError(t, err)
	in := RolloutInput{MaxParallel: 1}
	for _, p := range plans {
		in.Plans = append(in.Plans, RolloutPlan{NodeID: p.NodeID, PlanID: p.Planned.PlanID})
	}
	(&world{host: hosts[0]}).onApply(func() bool {
		w.plans.mu.Lock()
		defer w.plans.mu.Unlock()
		w.plans.plans = nil
		return false
	})
	r, err := w.StartRollout(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, "1:done 1:done", standing(w.end(r.ID)))
}

// A list that came out empty means nobody, and not all.
func TestRolloutOfNobody(t *testing.T) {
	w, hosts, _ := fleetOf(t, 1)
	for _, in := range []RolloutInput{{NodeIDs: []string{}}, {Plans: []RolloutPlan{}}} {
		in.Options = everything
		r, err := w.StartRollout(t.Context(), in)
		require.NoError(t, err)
		require.Empty(t, w.end(r.ID).Nodes)
	}
	require.Empty(t, hosts[0].peers())
}
