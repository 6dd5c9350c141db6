package panel

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/drift"
)

var errDropped = errors.New("dropped")

// dropWrites loses each answer to a write after the agent has done it; with gone the agent answers
// nothing more after that.
func (w *world) dropWrites(gone bool) {
	var down atomic.Bool
	w.edit.Store(new(func(r *http.Response) error {
		if r.Request.Method == http.MethodGet {
			return nil
		}
		down.Store(gone)
		return errDropped
	}))
	w.cut.Store(new(func(rw http.ResponseWriter, _ *http.Request) bool {
		if down.Load() {
			rw.WriteHeader(http.StatusBadGateway)
		}
		return down.Load()
	}))
}

// agree requires that the panel and the device have the same peers, and returns how many.
func (w *world) agree() int {
	w.t.Helper()
	w.honest()
	require.Equal(w.t, drift.InSync, w.drift().Status)
	list, _, err := w.Service.Peers(w.t.Context(), w.id, Page{})
	require.NoError(w.t, err)
	return len(list)
}

func TestLostAnswerOfAWriteThatWasDone(t *testing.T) {
	w := newWorld(t)
	w.create("first", nil)
	w.dropWrites(false)
	p := w.create("laptop", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	require.Equal(t, 2, w.agree())

	w.dropWrites(false)
	_, err := w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{PublicKey: new(publicKey("new").String()), PresharedKey: cleared[string]()})
	require.NoError(t, err)
	require.Equal(t, 2, w.agree())

	w.dropWrites(false)
	_, err = w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{Enabled: new(false)})
	require.NoError(t, err)
	w.agree()
	w.dropWrites(false)
	_, err = w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{Enabled: new(true)})
	require.NoError(t, err)
	w.agree()
	w.dropWrites(false)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, p.ID, false))
	require.Equal(t, 1, w.agree())
}

// A write that never came to the agent is 502, and nothing has changed, without a "may".
func TestLostRequest(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", nil)
	lose := func() {
		w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet {
				rw.WriteHeader(http.StatusBadGateway)
			}
			return r.Method != http.MethodGet
		}))
	}
	lose()
	_, create := w.CreatePeer(t.Context(), w.id, PeerInput{})
	_, update := w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{Keepalive: set(7)})
	for _, err := range []error{create, update, w.DeletePeer(t.Context(), w.id, p.ID, false)} {
		require.ErrorIs(t, err, ErrNode)
		require.NotContains(t, err.Error(), "may")
	}
	require.Equal(t, 1, w.agree())
}

// Where nobody can tell, the answer says so, and the panel forgets no peer that may still be there.
func TestLostAnswerOfAnAgentThatIsGone(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", nil)
	unknown := func(err error) {
		t.Helper()
		e, ok := errors.AsType[*NodeError](err)
		require.True(t, ok, "%v", err)
		require.Contains(t, e.Reason, "the node may have the change")
		require.Contains(t, e.Reason, "drift will show it")
		w.honest()
	}
	w.dropWrites(true)
	unknown(w.DeletePeer(t.Context(), w.id, p.ID, false))
	require.Len(t, w.drift().Missing, 1, "kept here, though it is gone there")
	w.reconcile(everything)
	require.Equal(t, 1, w.agree())

	w.dropWrites(true)
	_, err := w.CreatePeer(t.Context(), w.id, PeerInput{})
	unknown(err)
	require.Len(t, w.drift().Unknown, 1, "not kept here, and there")
	require.Len(t, w.peers(), 2)
}

// A caller who hangs up while the agent works leaves no difference behind.
func TestCallerHangsUp(t *testing.T) {
	w := newWorld(t)
	w.create("first", nil)
	hangUp := func() context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/apply") {
				cancel()
			}
			return false
		}))
		return ctx
	}
	p, err := w.CreatePeer(hangUp(), w.id, PeerInput{})
	require.NoError(t, err)
	require.Equal(t, 2, w.agree())
	_, err = w.UpdatePeer(hangUp(), w.id, p.ID, PeerInput{Keepalive: set(7)})
	require.NoError(t, err)
	w.agree()
	require.NoError(t, w.DeletePeer(hangUp(), w.id, p.ID, false))
	require.Equal(t, 1, w.agree())
}
