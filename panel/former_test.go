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
