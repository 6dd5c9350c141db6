package panel

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

func TestThePanelKnowsWhomItLostFromStrangers(t *testing.T) {
	w := newWorld(t)
	ann, bob, cid := w.create("ann", nil), w.create("bob", nil), w.create("cid", nil)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, ann.ID, false))
	_, err := w.UpdatePeer(t.Context(), w.id, bob.ID, PeerInput{Enabled: new(false)})
	require.NoError(t, err)
	back := func(p PeerView) engine.PeerChange {
		return engine.PeerChange{After: &engine.Peer{PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs, PersistentKeepalive: 21}}
	}
	stranger := engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.8.0.100/32")}
	w.write(back(ann), back(bob), engine.PeerChange{After: &stranger})

	check := func(s *Service) {
		t.Helper()
		r, err := s.Drift(t.Context(), w.id)
		require.NoError(t, err)
		got := map[string]string{}
		for _, p := range r.Unknown {
			got[p.PublicKey] = fmt.Sprint(p.Origin, " ", p.Name, " ", p.Why)
		}
		require.Equal(t, map[string]string{
			ann.PublicKey.String(): "orphaned ann deleted", bob.PublicKey.String(): "orphaned bob disabled",
			stranger.PublicKey.String(): "foreign  ",
		}, got)
	}
	check(w.Service)
	w.states.drop(w.id)
	check(w.Service) // from the store, not from memory

	// Each flag removes its own, and nobody else.
	dry := w.reconcile(ReconcileOptions{PruneForeign: true, DryRun: true})
	require.Equal(t, []string{stranger.PublicKey.String()}, dry.Removed)
	adopt := w.reconcile(ReconcileOptions{AdoptUnknown: true, DryRun: true})
	require.Len(t, adopt.Adopted, 2)
	require.Len(t, adopt.Errors, 1)
	require.Contains(t, adopt.Errors[0].Error, `it is peer "bob" of the panel, which is disabled`)
	gone := w.reconcile(ReconcileOptions{PruneOrphaned: true, AllowMassRemoval: true})
	require.ElementsMatch(t, []string{ann.PublicKey.String(), bob.PublicKey.String()}, gone.Removed)
	require.True(t, gone.Verified)
	for _, p := range []engine.Peer{{PublicKey: cid.PublicKey}, stranger} {
		_, there := w.peer(p.PublicKey)
		require.True(t, there, "nobody asked to remove it")
	}

	// Who comes back to the panel is no former peer any more, and is one again when it goes.
	again, err := w.CreatePeer(t.Context(), w.id, PeerInput{Name: new("ann"), PublicKey: new(ann.PublicKey.String())})
	require.NoError(t, err)
	st, err := w.state(t.Context(), w.id)
	require.NoError(t, err)
	require.NotContains(t, st.formers(), ann.PublicKey)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, again.ID, false))
	st, err = w.state(t.Context(), w.id)
	require.NoError(t, err)
	require.Equal(t, drift.Deleted, st.formers()[ann.PublicKey].Why)
}

func TestFormersAreBoundAndGoWithTheirNode(t *testing.T) {
	w := newWorld(t)
	began := w.now()
	require.NoError(t, w.store.Update(t.Context(), func(tx store.Tx) error {
		for i := range 5 {
			if err := formerTable.In(w.id).Put(tx, formerID(publicKey(fmt.Sprint(i))), formerRecord{Name: fmt.Sprint(i), At: began.Add(time.Duration(i) * time.Hour)}); err != nil {
				return err
			}
		}
		return forgetFormers(tx, w.id, 2)
	}))
	names := func() []string {
		out := []string{}
		require.NoError(t, w.store.View(t.Context(), func(tx store.Tx) error {
			all, err := formersOf(tx, w.id)
			for _, f := range all {
				out = append(out, f.Name)
			}
			return err
		}))
		return out
	}
	require.ElementsMatch(t, []string{"3", "4"}, names(), "the newest")
	require.NoError(t, w.DeleteNode(t.Context(), w.id))
	require.Empty(t, names())
}

// adopting is a node with nine peers of its own, which the panel adopts, and one of the panel's.
func adopting(t *testing.T) (w *world, before uint64) {
	t.Helper()
	w = newWorld(t)
	w.create("ann", nil)
	for i := range 9 {
		w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey(fmt.Sprint(i)), AllowedIPs: prefixesOf(fmt.Sprintf("10.9.0.%d/32", i))}})
	}
	before = w.revision()
	require.Len(t, w.reconcile(ReconcileOptions{AdoptUnknown: true}).Adopted, 9)
	return w, before
}

func (w *world) origins() map[string]int {
	w.t.Helper()
	out := map[string]int{}
	for _, p := range w.drift().Unknown {
		out[p.Origin]++
	}
	return out
}

// What the host had before the panel is the host's again when an adoption is undone; healing leaves it alone.
func TestAnAdoptionThatIsRolledBackMakesNoOrphans(t *testing.T) {
	w, before := adopting(t)
	plan, err := w.Rollback(t.Context(), w.id, before, "")
	require.NoError(t, err)
	require.Contains(t, plan.Warnings, "9 adopted peers become foreign again: on the node until somebody, or a policy with prune_foreign, removes them")
	adopted := w.revision()
	_, err = w.Rollback(t.Context(), w.id, before, plan.PlanID)
	require.NoError(t, err)
	require.Equal(t, map[string]int{drift.Foreign: 9}, w.origins())
	w.policy(heals(PolicyInput{}))
	k := &keeper{s: w.Service, nodeID: w.id}
	k.step(t.Context())
	k.step(t.Context())
	require.Len(t, w.peers(), 10)

	// Forward again, they are the panel's; one that a person deletes is orphaned, and so is another key of one.
	_, err = w.back(t.Context(), w.id, adopted)
	require.NoError(t, err)
	require.Empty(t, w.origins())
	peers, _, err := w.Peers(t.Context(), w.id, Page{})
	require.NoError(t, err)
	gone, changed := peers[1], peers[2]
	back, _ := w.peer(gone.PublicKey)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, gone.ID, false))
	w.write(engine.PeerChange{After: &back})
	_, err = w.UpdatePeer(t.Context(), w.id, changed.ID, PeerInput{PrivateKey: new(testKey("new").Reveal().String())})
	require.NoError(t, err)
	_, err = w.back(t.Context(), w.id, before)
	require.NoError(t, err)
	require.Equal(t, map[string]int{drift.Foreign: 7, drift.Orphaned: 2}, w.origins())
	require.Len(t, w.reconcile(ReconcileOptions{AdoptUnknown: true}).Adopted, 9)
	_, err = w.back(t.Context(), w.id, before)
	require.NoError(t, err)
	require.Equal(t, map[string]int{drift.Foreign: 7, drift.Orphaned: 2}, w.origins(), "as it was before it was adopted")
}

// Nobody named the peers that leave with a rollback: healing removes no more of them than of strangers.
func TestPeersThatARollbackTookAwayAreNoRevocations(t *testing.T) {
	for name, c := range map[string]struct {
		policy PolicyInput
		left   int
	}{
		"too many at once": {heals(PolicyInput{MaxDeletePercent: set(50)}), 10},
		"suspended":        {heals(PolicyInput{MaxDeletePercent: set(100), SuspendedUntil: set(time.Now().Add(time.Hour))}), 10},
		"as many as may":   {heals(PolicyInput{MaxDeletePercent: set(90)}), 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create("ann", nil)
			before := w.revision()
			for i := range 9 {
				w.create(fmt.Sprint(i), nil)
			}
			plan, err := w.Rollback(t.Context(), w.id, before, "")
			require.NoError(t, err)
			require.Contains(t, plan.Warnings, "9 peers become orphaned: on the node until somebody, or a policy with prune_orphaned, removes them")
			_, err = w.Rollback(t.Context(), w.id, before, plan.PlanID)
			require.NoError(t, err)
			require.Equal(t, map[string]int{drift.Orphaned: 9}, w.origins())
			w.policy(c.policy)
			(&keeper{s: w.Service, nodeID: w.id}).step(t.Context())
			require.Len(t, w.peers(), c.left)
		})
	}
}
