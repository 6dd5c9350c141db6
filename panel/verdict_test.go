package panel

import (
	"net/http"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
)

// told are the events of a kind about the node, the oldest first.
func (w *world) told(s *Service, kind event.Kind) []event.Event {
	w.t.Helper()
	all, _, err := s.Events(w.t.Context(), event.Filter{NodeID: w.id, Kinds: []event.Kind{kind}}, Page{})
	require.NoError(w.t, err)
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// Each look that changes the verdict is told once, with what came and what went; others are not.
func TestAVerdictIsToldWhereItChanges(t *testing.T) {
	w := newWorld(t)
	a := w.create("a", nil)
	w.drift()
	require.Empty(t, w.told(w.Service, event.DriftChanged), "in sync from the first look on is no news")
	w.remove(a)
	w.drift()
	w.drift()
	stranger := engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.8.0.100/32")}
	w.write(engine.PeerChange{After: &stranger})
	w.drift()
	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	w.drift()
	w.honest()
	w.drift()
	ctx := event.WithActor(t.Context(), event.Actor{Kind: event.ActorKey, ID: "k1", Name: "ann"})
	_, err := w.Reconcile(ctx, w.id, ReconcileOptions{Missing: true, PruneForeign: true, AllowMassRemoval: true})
	require.NoError(t, err)

	type change struct{ op, peer, outcome string }
	var got []string
	var changes [][]change
	for _, e := range w.told(w.Service, event.DriftChanged) {
		got = append(got, e.From+" > "+e.To)
		var list []change
		for _, c := range e.Changes {
			list = append(list, change{c.Op, c.Peer, c.Outcome})
		}
		changes = append(changes, list)
	}
	require.Equal(t, []string{"in_sync > drift", "drift > drift", "drift > unknown", "unknown > drift", "drift > in_sync"}, got)
	mine, other := a.PublicKey.String(), stranger.PublicKey.String()
	require.Equal(t, []change{{"missing", mine, event.Appeared}}, changes[0])
	require.Equal(t, []change{{"foreign", other, event.Appeared}}, changes[1])
	require.Empty(t, changes[2])
	require.Empty(t, changes[3], "it differs in what it differed in before")
	require.ElementsMatch(t, []change{{"missing", mine, event.Resolved}, {"foreign", other, event.Resolved}}, changes[4])

	runs := w.told(w.Service, event.Reconciled)
	require.Len(t, runs, 1)
	require.Equal(t, "ann", runs[0].Actor.Name)
	require.Equal(t, "added 1, removed 1, verified", runs[0].Message)
	require.Len(t, runs[0].Changes, 2)
	for _, c := range runs[0].Changes {
		require.Equal(t, event.Done, c.Outcome)
		require.Equal(t, c.Op == "add", c.Before == nil)
		require.Equal(t, c.Op == "remove", c.After == nil)
	}
	require.Len(t, w.told(w.Service, event.ConditionChanged), 2, "it went, and came back")
}

// Another process of the panel knows since when it is so, and which drift was told; how the node is now it
// does not know before it looks.
func TestAStatusIsRememberedOverARestart(t *testing.T) {
	w := newWorld(t)
	w.remove(w.create("a", nil))
	w.drift()
	before, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	told := len(w.told(w.Service, event.DriftChanged))

	next, err := New(Options{Store: w.store, Dial: w.o.Dial})
	require.NoError(t, err)
	t.Cleanup(next.Close)
	v, err := next.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Empty(t, v.Status.Conditions, "a memory is no look")
	require.Equal(t, drift.Unknown, v.Verdict())
	_, err = next.Drift(t.Context(), w.id)
	require.NoError(t, err)
	v, err = next.Node(t.Context(), w.id)
	require.NoError(t, err)
	for _, kind := range []string{ConditionReachable, ConditionSynced, ConditionHealthy} {
		require.Equal(t, condition(t, before.Status, kind).Since, condition(t, v.Status, kind).Since, kind)
	}
	require.Equal(t, "False", condition(t, v.Status, ConditionSynced).Status)
	require.Equal(t, v.Revision, condition(t, v.Status, ConditionSynced).ObservedRevision)
	require.Len(t, w.told(next, event.DriftChanged), told, "the same drift is no news")
}

// A step that fails is told as failed, with why.
func TestWhatFailedIsTold(t *testing.T) {
	w := newWorld(t)
	p := w.create("a", nil)
	w.remove(p)
	w.onApply(func() bool { panic(http.ErrAbortHandler) })
	_, err := w.Reconcile(t.Context(), w.id, everything)
	require.Error(t, err)
	runs := w.told(w.Service, event.Reconciled)
	require.Len(t, runs, 1)
	require.Equal(t, event.Warning, runs[0].Severity)
	require.Equal(t, event.Failed, runs[0].Changes[0].Outcome)
	require.NotEmpty(t, runs[0].Changes[0].Error)
}

// Many look at the same time: what changed is told once, and with what it was.
func TestOneOfManyLooksTells(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		ann := w.create("ann", nil)
		w.drift()
		w.remove(ann)
		var looks sync.WaitGroup
		for range 8 {
			looks.Go(func() { w.drift() })
		}
		looks.Wait()
		told := w.told(w.Service, event.DriftChanged)
		require.Len(t, told, 1)
		require.Len(t, told[0].Changes, 1)
	}
}

// Who can write to a node can't hide drift from the log by its size.
func TestAHugePeerIsTold(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	w.drift()
	huge := engine.Peer{PublicKey: publicKey("huge")}
	for i := range 40_000 {
		huge.AllowedIPs = append(huge.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(i >> 8), byte(i)}), 32))
	}
	w.write(engine.PeerChange{After: &huge})
	require.Len(t, w.drift().Unknown, 1)
	told := w.told(w.Service, event.DriftChanged)
	require.Len(t, told, 1)
	require.Equal(t, huge.PublicKey.String(), told[0].Changes[0].Peer)
}
