package panel

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/store"
)

// fetch hands a client's file out.
func (w *world) fetch(peerID string) {
	w.t.Helper()
	f, err := w.ClientConfig(w.t.Context(), w.id, peerID)
	require.NoError(w.t, err)
	w.ClientConfigFetched(w.t.Context(), f)
}

// isStale asks in each way that there is.
func (w *world) isStale(peerID string) bool {
	w.t.Helper()
	one, err := w.Peer(w.t.Context(), w.id, peerID)
	require.NoError(w.t, err)
	for _, list := range []func() ([]PeerView, string, error){
		func() ([]PeerView, string, error) { return w.Peers(w.t.Context(), w.id, Page{}) },
		func() ([]PeerView, string, error) { return w.SearchPeers(w.t.Context(), "", Page{}) },
	} {
		all, _, err := list()
		require.NoError(w.t, err)
		for _, p := range all {
			if p.ID == peerID {
				require.Equal(w.t, one.ConfigStale, p.ConfigStale)
			}
		}
	}
	return one.ConfigStale
}

// A file is stale from the change of anything in it until it is fetched again, or is as it was.
func TestStaleClientFile(t *testing.T) {
	l := newLayered(t)
	ctx := t.Context()
	updateNode := func(in NodeInput) {
		t.Helper()
		_, err := l.UpdateNode(ctx, l.id, in)
		require.NoError(t, err)
	}
	updatePeer := func(in PeerInput) bool {
		t.Helper()
		v, err := l.UpdatePeer(ctx, l.id, l.peer.ID, in)
		require.NoError(t, err)
		return v.ConfigStale
	}
	for i := range 5 {
		l.give(i, saying(i))
		require.False(t, l.isStale(l.peer.ID), "it was never fetched")
		l.give(i, silence)
	}
	revision := l.revision()
	l.fetch(l.peer.ID)
	require.Equal(t, revision, l.revision(), "a fetch is no change of what is wanted")
	require.False(t, l.isStale(l.peer.ID))
	for i := range 5 {
		l.give(i, saying(i))
		require.True(t, l.isStale(l.peer.ID), "layer %d", i)
		l.give(i, silence)
		require.False(t, l.isStale(l.peer.ID), "it is as it was")
	}
	for name, change := range map[string]func(){
		"endpoint": func() { updateNode(NodeInput{Endpoint: new("other.example")}) },
		"port":     func() { updateNode(NodeInput{Overrides: OverridesInput{ListenPort: set(443)}}) },
		"preshared key": func() {
			require.True(t, updatePeer(PeerInput{PresharedKey: set(AutoPresharedKey)}), "the answer of the change says so")
		},
		"allowed IPs": func() { updatePeer(PeerInput{AllowedIPs: &[]string{"10.8.0.99/32"}}) },
		"private key": func() { updatePeer(PeerInput{PrivateKey: new(testKey("another").Reveal().String())}) },
		"node's key": func() {
			_, err := l.setInterface(InterfaceWish{PublicKey: new(publicKey("another node").String())})
			require.NoError(t, err)
		},
		"the port that is seen": func() {
			require.NoError(t, l.o.Store.Update(ctx, func(tx store.Tx) error {
				r, err := getNode(tx, l.id)
				if err != nil {
					return err
				}
				r.SeenListenPort, r.ListenPort = 7777, nil
				return nodeTable.Put(tx, l.id, r)
			}))
		},
	} {
		l.fetch(l.peer.ID)
		require.False(t, l.isStale(l.peer.ID), name)
		change()
		require.True(t, l.isStale(l.peer.ID), name)
	}
	l.fetch(l.peer.ID)
	for name, change := range map[string]func(){
		"name":   func() { updatePeer(PeerInput{Name: new("other")}) },
		"off":    func() { updatePeer(PeerInput{Enabled: new(false)}) },
		"weight": func() { updateNode(NodeInput{Weight: new(7)}) },
		"same":   func() { l.setGroup(ValuesInput{DNS: set(DefaultDNS)}) },
	} {
		change()
		require.False(t, l.isStale(l.peer.ID), "%s is no part of the file", name)
	}
}

func (w *world) revision() uint64 {
	w.t.Helper()
	n, err := w.Node(w.t.Context(), w.id)
	require.NoError(w.t, err)
	return n.Revision
}

// Of a node that may be another by now nothing is said until it was met.
func TestStaleIsNotGuessed(t *testing.T) {
	l := newLayered(t)
	l.fetch(l.peer.ID)
	l.give(4, saying(4))
	require.True(t, l.isStale(l.peer.ID))
	_, err := l.UpdateNode(t.Context(), l.id, NodeInput{Secret: new(testSecret)})
	require.NoError(t, err)
	require.False(t, l.isStale(l.peer.ID), "the node's key was forgotten")
	l.drift()
	require.True(t, l.isStale(l.peer.ID))
}

// The client has the file whether that is kept or not; and what is kept goes with the peer, but not with a deletion
// that the node did not take.
func TestFetchThatIsNotKept(t *testing.T) {
	l := newLayered(t)
	working := l.o.Store
	f, err := l.ClientConfig(t.Context(), l.id, l.peer.ID)
	require.NoError(t, err)
	l.o.Store = refusing{working, errors.New("no space")}
	l.ClientConfigFetched(t.Context(), f)
	l.o.Store = working
	require.Contains(t, l.logs.String(), "that a client's file was fetched is not kept")
	require.Equal(t, 0, l.kept())

	l.ClientConfigFetched(t.Context(), f)
	l.ClientConfigFetched(t.Context(), f)
	require.Equal(t, 1, l.kept())
	l.direct.Close()
	require.Error(t, l.DeletePeer(t.Context(), l.id, l.peer.ID, false))
	require.Equal(t, 1, l.kept(), "the peer is there still")
	l.give(4, saying(4))
	require.True(t, l.isStale(l.peer.ID))
	require.NoError(t, l.DeletePeer(t.Context(), l.id, l.peer.ID, true))
	require.Equal(t, 0, l.kept())
	l.ClientConfigFetched(t.Context(), f)
	require.Equal(t, 0, l.kept(), "a peer that is gone has no file")
}

func (w *world) kept() int {
	w.t.Helper()
	all, err := w.fetchedOf(w.t.Context(), w.id)
	require.NoError(w.t, err)
	return len(all)
}

func TestKeptFilesGoWithTheNode(t *testing.T) {
	l := newLayered(t)
	l.fetch(l.peer.ID)
	require.Equal(t, 1, l.kept())
	require.NoError(t, l.DeleteNode(t.Context(), l.id))
	require.Equal(t, 0, l.kept())
}

// What stands for a file tells every part of it from every other, and no key from it.
func TestSumOfFile(t *testing.T) {
	n := Node{Endpoint: "vpn.example:1", SeenPublicKey: publicKey("node").String(), Overrides: Overrides{DNS: new("1.1.1.1"), EndpointAllowedIP: new("2.2.2.2/32")}}
	p := Peer{PublicKey: publicKey("p"), PrivateKey: testKey("p"), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}
	a, ok := sumOfFile(n, p)
	require.True(t, ok)
	require.Len(t, a, 64)
	p.PresharedKey = testKey("psk")
	b, _ := sumOfFile(n, p)
	require.NotEqual(t, a, b)
	p.PrivateKey = engine.SecretKey{}
	_, ok = sumOfFile(n, p)
	require.False(t, ok, "a file without a private key is none")
	n.SeenPublicKey = ""
	p.PrivateKey = testKey("p")
	_, ok = sumOfFile(n, p)
	require.False(t, ok)
}

// A rollback that takes a peer takes what is kept of its file.
func TestARollbackLeavesNoFileBehind(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	before, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	bob := w.create("bob", nil)
	w.fetch(bob.ID)
	kept, err := w.fetchedOf(t.Context(), w.id)
	require.NoError(t, err)
	require.Len(t, kept, 1)
	plan, err := w.Rollback(t.Context(), w.id, before.Revision, "")
	require.NoError(t, err)
	_, err = w.Rollback(t.Context(), w.id, before.Revision, plan.PlanID)
	require.NoError(t, err)
	kept, err = w.fetchedOf(t.Context(), w.id)
	require.NoError(t, err)
	require.Empty(t, kept)
}
