package panel

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

// Dead nodes cost one time limit together, not one each, and not twice.
func TestAutoAsksDeadNodesSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.OpenInMemory(store.NewMasterKey())
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		dead := &polled{slow: true}
		s, err := New(Options{Store: st, Dial: func(Node) (Agent, error) { return dead, nil }})
		require.NoError(t, err)
		defer s.Close()
		for _, name := range []string{"a", "b", "c"} {
			_, _, err := s.CreateNode(t.Context(), NodeInput{Name: &name, AgentURL: new("http://" + name)})
			require.NoError(t, err)
		}
		for range 2 { // never asked; then known to be offline
			began := time.Now()
			calls := dead.calls
			_, err = s.CreatePeer(t.Context(), NodeAuto, PeerInput{AllowedIPs: &[]string{}})
			require.ErrorIs(t, err, ErrConflict)
			require.Equal(t, DefaultNodeTimeout, time.Since(began))
			require.Equal(t, calls+3, dead.calls)
		}
	})
}

// auto goes on to the next node where the best one surely has not taken the peer.
func TestAutoTriesTheNextNode(t *testing.T) {
	s, _, _ := newService(t, nil)
	best, next := newHost(t, nil), newHost(t, nil)
	add := func(name string, h *host, weight int) string {
		n, _, err := s.CreateNode(t.Context(), NodeInput{
			Name: &name, AgentURL: &h.proxy.URL, Secret: new(testSecret), Weight: &weight, MaxPeers: new(10), IPPoolCIDR: new("10.8.0.0/29"),
		})
		require.NoError(t, err)
		return n.ID
	}
	a, b := add("best", best, 1000), add("next", next, 1)
	create := func() PeerView {
		t.Helper()
		p, err := s.CreatePeer(t.Context(), NodeAuto, PeerInput{})
		require.NoError(t, err)
		return p
	}
	_, err := s.CreatePeer(t.Context(), b, PeerInput{})
	require.NoError(t, err)
	require.Equal(t, a, create().NodeID)
	best.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool { // it polls well, but takes no write
		if strings.HasSuffix(r.URL.Path, "/apply") {
			rw.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	}))
	require.Equal(t, b, create().NodeID)
	require.Len(t, best.peers(), 1)

	best.honest()
	for range 4 {
		require.Equal(t, a, create().NodeID)
	}
	require.Equal(t, b, create().NodeID, "the pool of the best has no address left")

	best.cut.Store(new(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusBadGateway)
		return true
	}))
	_, err = s.CreatePeer(t.Context(), NodeAuto, PeerInput{AllowedIPs: &[]string{"10.8.0.99"}})
	require.ErrorContains(t, err, "may have the change", "it may have the peer: another node must not get it as well")
	require.Len(t, next.peers(), 3)
}

// Whoever lost the race for the last place of the best node gets the next one.
func TestAutoLosesTheRaceForTheLastPlace(t *testing.T) {
	s, _, _ := newService(t, nil)
	best, next := newHost(t, nil), newHost(t, nil)
	var ids []string
	for i, h := range []*host{best, next} {
		n, _, err := s.CreateNode(t.Context(), NodeInput{
			Name: new(string(rune('a' + i))), AgentURL: &h.proxy.URL, Secret: new(testSecret), MaxPeers: new(1), Weight: new(100 - i), IPPoolCIDR: new("10.8.0.0/24"),
		})
		require.NoError(t, err)
		ids = append(ids, n.ID)
	}
	// Somebody else takes the place while the node is asked for its health.
	best.cut.Store(new(func(http.ResponseWriter, *http.Request) bool {
		best.honest()
		_, err := s.CreatePeer(t.Context(), ids[0], PeerInput{})
		assert.NoError(t, err)
		return false
	}))
	p, err := s.CreatePeer(t.Context(), NodeAuto, PeerInput{})
	require.NoError(t, err)
	require.Equal(t, ids[1], p.NodeID)
}
