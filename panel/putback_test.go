package panel

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// refuseWrites makes the agent answer 502 to all that changes something, until it is honest again.
func (h *host) refuseWrites() {
	h.cut.Store(new(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			return false
		}
		http.Error(w, "bad gateway", http.StatusBadGateway)
		return true
	}))
}

// A node that refuses all costs neither the history of what it took nor the log, and the next change is like any.
func TestRefusedWritesLeaveOneRevision(t *testing.T) {
	w := newWorld(t)
	ann := w.create("ann", nil)
	bob := w.create("bob", func(in *PeerInput) { in.ExpiresAt = set("2999-01-01T00:00:00Z") })
	states := map[uint64]string{w.revision(): present(t, w.Service, w.id)}
	w.refuseWrites()
	for i := range keepRevisions/2 + 5 {
		var err error
		switch i % 3 {
		case 0:
			_, err = w.CreatePeer(t.Context(), w.id, PeerInput{})
		case 1:
			_, err = w.UpdatePeer(t.Context(), w.id, ann.ID, PeerInput{AllowedIPs: &[]string{"10.8.0.77/32"}})
		default:
			err = w.DeletePeer(t.Context(), w.id, bob.ID, false)
		}
		require.Error(t, err)
		require.Equal(t, states[3], present(t, w.Service, w.id))
	}
	w.honest()
	list, _, err := w.Revisions(t.Context(), w.id, Page{})
	require.NoError(t, err)
	require.Len(t, list, 4)
	require.Equal(t, `put back, as the node did not take it: removed peer "bob"`, list[0].Summary)
	require.Equal(t, uint64(3+keepRevisions+10), list[0].Number)
	require.Len(t, w.told(w.Service, event.DesiredChanged), 3)
	require.Equal(t, drift.InSync, w.drift().Status)
	_, err = w.Revision(t.Context(), w.id, 100)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "node n1 has no revision 100: it was put back, as the node did not take it")

	// What was wanted before is known, and so many more changes until it is too old.
	states[list[0].Number] = present(t, w.Service, w.id)
	for i := range keepRevisions - 4 {
		_, err := w.UpdateNode(t.Context(), w.id, NodeInput{Weight: new(i + 2)})
		require.NoError(t, err)
	}
	for number, want := range states {
		got, err := w.Revision(t.Context(), w.id, number)
		require.NoError(t, err)
		require.Equal(t, want, wanted(t, got))
	}
	d, err := w.DiffRevisions(t.Context(), w.id, 3, list[0].Number)
	require.NoError(t, err)
	require.True(t, d.empty())
	_, err = w.Revision(t.Context(), w.id, 1)
	require.NoError(t, err, "the 200th")
	_, err = w.UpdateNode(t.Context(), w.id, NodeInput{Weight: new(1)})
	require.NoError(t, err)
	_, err = w.Revision(t.Context(), w.id, 1)
	require.ErrorContains(t, err, "no longer kept")
	_, err = w.back(t.Context(), w.id, 2)
	require.NoError(t, err)
	require.Equal(t, 1, w.nodePeers())
}

func (w *world) nodePeers() int {
	w.t.Helper()
	n, err := w.Node(w.t.Context(), w.id)
	require.NoError(w.t, err)
	return n.PeerCount
}

// Who knew the node while the change was under way does not take that for what is wanted later.
func TestARefusedRevisionIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	var during atomic.Uint64
	var stored atomic.Int64
	w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet {
			return false
		}
		during.Store(w.revision())
		peers, _, err := w.Peers(t.Context(), w.id, Page{})
		if err != nil {
			t.Error(err)
		}
		stored.Store(int64(len(peers)))
		http.Error(rw, "bad gateway", http.StatusBadGateway)
		return true
	}))
	_, err := w.CreatePeer(t.Context(), w.id, PeerInput{Name: new("bob")})
	require.Error(t, err)
	w.honest()
	require.Equal(t, int64(2), stored.Load())
	require.Greater(t, w.revision(), during.Load())
	cid := w.create("cid", nil)
	require.Equal(t, drift.InSync, w.drift().Status)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, cid.ID, false))
	require.Equal(t, drift.InSync, w.drift().Status)
}

// A stranger whose key somebody tried to give to a peer, which the node refused, is a stranger still; a peer
// that was deleted once is still that.
func TestARefusedPeerMakesNoOrphan(t *testing.T) {
	w := newWorld(t)
	gone := w.create("gone", nil)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, gone.ID, false))
	for _, key := range []string{publicKey("stranger").String(), gone.PublicKey.String()} {
		w.refuseWrites()
		_, err := w.CreatePeer(t.Context(), w.id, PeerInput{PublicKey: &key})
		require.Error(t, err)
		w.honest()
	}
	for _, key := range []string{"stranger", "gone"} {
		p := engine.Peer{PublicKey: publicKey(key), AllowedIPs: prefixesOf("10.9.0.1/32")}
		if key == "gone" {
			p = engine.Peer{PublicKey: gone.PublicKey, AllowedIPs: prefixesOf("10.9.0.2/32")}
		}
		w.write(engine.PeerChange{After: &p})
	}
	want := map[string]int{drift.Foreign: 1, drift.Orphaned: 1}
	require.Equal(t, want, w.origins())
	w.states.drop(w.id)
	require.Equal(t, want, w.origins(), "from the store")
}

// One peer that can't be adopted costs no revision for each of the others.
func TestARefusedAdoptionLeavesOneRevision(t *testing.T) {
	w := newWorld(t)
	for i := range 60 {
		w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey(fmt.Sprint(i)), AllowedIPs: prefixesOf(fmt.Sprintf("10.9.0.%d/32", i))}})
	}
	// Somebody else's peer has these addresses, though the plan did not know of it.
	require.NoError(t, w.store.Update(t.Context(), func(tx store.Tx) error {
		for _, ip := range []string{"10.9.0.0/32", "10.9.0.31/32", "10.9.0.59/32"} {
			if err := peerIPs.In(w.id).Claim(tx, ip, "other"); err != nil {
				return err
			}
		}
		return nil
	}))
	r := w.reconcile(ReconcileOptions{AdoptUnknown: true})
	require.Len(t, r.Adopted, 57)
	require.Len(t, r.Errors, 3)
	for _, e := range r.Errors {
		require.Contains(t, e.Error, "belongs to peer other already")
	}
	require.Equal(t, uint64(2), w.revision())
	require.Equal(t, 57, w.nodePeers())
}
