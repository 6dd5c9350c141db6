package panel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/policy"
	"github.com/wgfleet/wgfleet/store"
)

// watch lets the panel keep its nodes until the test ends.
func (w *world) watch() {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.keepLoop(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() {
		stop()
		run.Wait()
	})
}

// await follows the log from the event with the id after until one is wanted, and returns it.
func (w *world) await(after string, want func(event.Event) bool) event.Event {
	w.t.Helper()
	ctx, stop := context.WithTimeoutCause(w.t.Context(), 30*time.Second, errors.New("nothing of the kind happened in 30 s"))
	defer stop()
	for e, err := range w.FollowEvents(ctx, after) {
		require.NoError(w.t, err, "%s", w.logs)
		if want(e) {
			return e
		}
	}
	return event.Event{}
}

func becomes(to string) func(event.Event) bool {
	return func(e event.Event) bool { return e.Kind == event.DriftChanged && e.To == to }
}

func (w *world) policy(in PolicyInput) {
	w.t.Helper()
	_, err := w.UpdateNode(w.t.Context(), w.id, NodeInput{Drift: in})
	require.NoError(w.t, err)
}

// heals is a policy that puts everything right, but for what in says.
func heals(in PolicyInput) PolicyInput {
	in.Mode = set(string(policy.Heal))
	return in
}

// Nobody asks: what happens on the node, and what the panel wants, is seen all the same, and by one request
// that is held. Nothing is written.
func TestAChangeIsSeenByItself(t *testing.T) {
	w := newWorld(t)
	ann := w.create("ann", nil)
	w.watch()
	w.remove(ann)
	e := w.await("", becomes(drift.Drifted))
	require.Equal(t, "ann", e.Changes[0].Name)
	before := w.writes.Load()
	e = w.await(w.put(e, ann), becomes(drift.InSync))

	// What the panel wants is another: the override shows as drift, at once.
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{Overrides: OverridesInput{Keepalive: set(99)}})
	require.NoError(t, err)
	e = w.await(e.ID, becomes(drift.Drifted))
	_, err = w.UpdateNode(t.Context(), w.id, NodeInput{Overrides: OverridesInput{Keepalive: Optional[int]{Set: true}}})
	require.NoError(t, err)
	e = w.await(e.ID, becomes(drift.InSync))

	// The agent goes: it is not known how the node is. It comes back.
	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	w.proxy.CloseClientConnections()
	e = w.await(e.ID, becomes(drift.Unknown))
	w.honest()
	w.await(e.ID, becomes(drift.InSync))
	require.Equal(t, before, w.writes.Load())
}

// put is somebody's bringing back of a peer. It returns the id of the event that came before.
func (w *world) put(before event.Event, p PeerView) string {
	w.t.Helper()
	w.write(engine.PeerChange{After: &engine.Peer{
		PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.Effective.Keepalive, PresharedKey: p.PresharedKey,
	}})
	return before.ID
}

// One held request a node is all that a quiet fleet costs.
func TestAQuietNodeIsLeftInPeace(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	var held atomic.Int64
	long := make(chan struct{}, 10)
	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		held.Add(1)
		if r.Header.Get("Prefer") == "wait=50" {
			long <- struct{}{}
		}
		return false
	}))
	w.watch()
	<-long
	require.LessOrEqual(t, held.Load(), int64(5), "meeting, looking, and one that is held")
}

func TestNobodyLooksWhereTheModeIsOff(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	w.policy(PolicyInput{Mode: set(string(policy.Off))})
	w.drift() // a person does
	v, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Equal(t, drift.Unknown, v.Verdict(), "it is not in sync because somebody looked once")
	require.Equal(t, "Unknown NotWatched", condition(t, v.Status, ConditionSynced).Status+" "+condition(t, v.Status, ConditionSynced).Reason)
	before := w.calls.Load()
	w.watch()
	w.keepers.kickAll()
	// When another node, which came later, was looked at, this one could have been.
	other := newHost(t, nil)
	n, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("gone"), AgentURL: &other.proxy.URL, Secret: new(testSecret), WGInterface: new("wg7")})
	require.NoError(t, err)
	w.await("", func(e event.Event) bool { return e.NodeID == n.ID && e.To == drift.Unknown })
	require.NoError(t, w.DeleteNode(t.Context(), n.ID))
	require.Equal(t, before, w.calls.Load(), "nobody looked")

	last, err := w.LastEvent(t.Context())
	require.NoError(t, err)
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.9.0.1/32")}})
	w.policy(PolicyInput{Mode: set(string(policy.Report))})
	w.await(last, becomes(drift.Drifted))
}

// Somebody else undoes each healing: it is done less and less often, then given up with a word, and taken up
// again after a person's reconciliation.
func TestHealingGivesUp(t *testing.T) {
	w := newWorld(t)
	ann := w.create("ann", nil)
	w.remove(ann)
	w.policy(heals(PolicyInput{}))
	k := &keeper{s: w.Service, nodeID: w.id}
	now := time.Now()
	w.o.Now = func() time.Time { return now }
	tries := 0
	for range 100 {
		k.step(t.Context())
		if _, there := w.peer(ann.PublicKey); there {
			tries++
			w.remove(ann)
			require.Less(t, w.writes.Load(), int64(100))
		}
		now = now.Add(2 * time.Minute)
	}
	require.Equal(t, policy.MaxTries, tries)
	v, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Contains(t, v.Status.Healing, "has stopped")
	require.Equal(t, "False HealingStopped", condition(t, v.Status, ConditionHealthy).Status+" "+condition(t, v.Status, ConditionHealthy).Reason)
	stopped := w.told(w.Service, event.HealingStopped)
	require.Len(t, stopped, 1)
	require.Equal(t, event.Critical, stopped[0].Severity)

	k.forgiven.Store(true)
	k.step(t.Context())
	_, there := w.peer(ann.PublicKey)
	require.True(t, there)
	k.step(t.Context())
	v, err = w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Empty(t, v.Status.Healing)
	require.Equal(t, "True", condition(t, v.Status, ConditionHealthy).Status)
}

// A stranger sits on ann's address: healing does not take it, a person may.
func TestHealingTakesNothingFromStrangers(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.create("ann", nil), w.create("bob", nil)
	w.remove(ann)
	w.remove(bob)
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: ann.AllowedIPs[:1]}})
	w.policy(heals(PolicyInput{}))
	k := &keeper{s: w.Service, nodeID: w.id}
	k.step(t.Context())
	_, there := w.peer(ann.PublicKey)
	require.False(t, there)
	_, there = w.peer(bob.PublicKey)
	require.True(t, there)
	v, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Contains(t, v.Status.Healing, "1 changes would take addresses")
	require.Len(t, w.reconcile(everything).Added, 1)
}

// The panel wants nobody: strangers are not believed to be unwanted.
func TestAnEmptyPanelPrunesNoStrangers(t *testing.T) {
	w := newWorld(t)
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("a"), AllowedIPs: prefixesOf("10.9.0.1/32")}})
	w.policy(heals(PolicyInput{PruneForeign: set(true), MaxDeletePercent: set(100)}))
	k := &keeper{s: w.Service, nodeID: w.id}
	k.step(t.Context())
	require.Len(t, w.peers(), 1)
}

// What holds requests up refuses them, and plain looks work: the node is not asked again and again.
func TestRefusedHoldsArePaced(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	var refused atomic.Int64
	enough := make(chan struct{})
	w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Prefer") == "" {
			return false
		}
		if refused.Add(1) == maxEarly {
			close(enough)
		}
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	}))
	w.watch()
	<-enough
	for range 20 { // each look that a person asks for takes as long as some holds would
		w.drift()
	}
	require.Equal(t, int64(maxEarly), refused.Load())
}

// A rule makes a peer no drift, and its end drift again, without anybody's look.
func TestARulesEndIsSeen(t *testing.T) {
	w := newWorld(t)
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.9.0.1/32")}})
	w.watch()
	e := w.await("", becomes(drift.Drifted))
	r, err := w.CreateRule(t.Context(), RuleInput{Action: new(drift.Ignore), PublicKey: new(publicKey("stranger").String())})
	require.NoError(t, err)
	e = w.await(e.ID, becomes(drift.InSync))
	require.NoError(t, w.DeleteRule(t.Context(), r.ID))
	e = w.await(e.ID, becomes(drift.Drifted))
	_, err = w.CreateRule(t.Context(), RuleInput{
		Action: new(drift.Ignore), PublicKey: new(publicKey("stranger").String()), Until: set(time.Now().Add(1500 * time.Millisecond)),
	})
	require.NoError(t, err)
	e = w.await(e.ID, becomes(drift.InSync))
	w.await(e.ID, becomes(drift.Drifted))
}

// Nobody looks at a disabled node: nothing of it is true.
func TestNothingIsKnownOfADisabledNode(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	w.drift()
	v, err := w.UpdateNode(t.Context(), w.id, NodeInput{Enabled: new(false)})
	require.NoError(t, err)
	require.NotEmpty(t, v.Status.Conditions)
	for _, c := range v.Status.Conditions {
		require.Equal(t, "Unknown Disabled", c.Status+" "+c.Reason, c.Type)
	}
	require.Equal(t, drift.Unknown, v.Verdict())
}

// Two nodes of the panel are one interface: nobody is removed, and what is missing is put back all the same.
func TestHealingOfTwins(t *testing.T) {
	w := newWorld(t)
	ann := w.create("ann", nil)
	w.drift()
	_, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("twin"), AgentURL: &w.proxy.URL, Secret: new(testSecret)})
	require.NoError(t, err)
	w.remove(ann)
	w.policy(heals(PolicyInput{}))
	(&keeper{s: w.Service, nodeID: w.id}).step(t.Context())
	_, there := w.peer(ann.PublicKey)
	require.True(t, there)
	v, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Contains(t, v.Status.Healing, "manages the same interface")
}

// restless is an agent that says at once, whatever it is asked, that something changed.
type restless struct {
	*polled
	dumps atomic.Int64
}

func (r *restless) Dump(_ context.Context, _ string, q client.Query) (client.Snapshot, error) {
	return client.Snapshot{Digest: fmt.Sprint(r.dumps.Add(1)), InterfaceDigest: "d"}, nil
}

func (r *restless) Interface(context.Context, string) (agent.InterfaceSummary, error) {
	return agent.InterfaceSummary{Name: "wg0", PublicKey: "seen", InterfaceDigest: "d"}, nil
}

func (r *restless) MAC(engine.SecretKey) string { return "" }

// A node that lies can't keep the panel busy.
func TestARestlessNodeIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.OpenInMemory(store.NewMasterKey())
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		a := &restless{polled: &polled{}}
		s, err := New(Options{Store: st, Dial: func(Node) (Agent, error) { return a, nil }})
		require.NoError(t, err)
		_, _, err = s.CreateNode(t.Context(), NodeInput{Name: new("n"), AgentURL: new("http://n")})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			if err := s.keepLoop(ctx); err != nil {
				t.Error(err)
			}
		})
		later(time.Minute)
		stop()
		run.Wait()
		require.LessOrEqual(t, a.dumps.Load(), int64(130), "a look and a request that is held, once a second")
		require.Greater(t, a.dumps.Load(), int64(60))
	})
}
