package panel

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/store"
)

// tight is a store whose transactions delete so much at most; before runs at each begin.
type tight struct {
	store.Store
	deletes, updates int
	before           func()
}

func (s *tight) Update(ctx context.Context, fn func(store.Tx) error) error {
	s.updates++
	return s.Store.Update(ctx, func(tx store.Tx) error {
		s.before()
		return fn(&tightTx{Tx: tx, left: s.deletes})
	})
}

type tightTx struct {
	store.Tx
	left int
}

func (t *tightTx) Delete(key string) error {
	if t.left--; t.left < 0 {
		return store.ErrTooLarge
	}
	return t.Tx.Delete(key)
}

// fill gives the node so many peers, past the agent.
func (w *world) fill(count int) {
	w.t.Helper()
	require.NoError(w.t, w.store.Update(w.t.Context(), func(tx store.Tx) error {
		for range count {
			id, err := store.NewID(w.now(), w.o.Rand)
			if err != nil {
				return err
			}
			k, err := randomKey(w.o.Rand)
			if err != nil {
				return err
			}
			if err := insertPeer(tx, Peer{ID: id, NodeID: w.id, PublicKey: k}); err != nil {
				return err
			}
		}
		r, err := getNode(tx, w.id)
		if err != nil {
			return err
		}
		r.PeerCount, r.Revision = count, r.Revision+1
		return nodeTable.Put(tx, w.id, r)
	}))
}

// A caller who hangs up leaves no half of a node.
func TestDeleteNodeIsOneTransaction(t *testing.T) {
	const peers = deleteBatch + 5
	for name, c := range map[string]struct{ deletes, updates int }{
		"ordinary":                  {10 * peers, 1},
		"more than fits into one":   {2*deleteBatch + 8, 3},
		"just as much as one takes": {2*peers + 4, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fill(peers)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			st := &tight{Store: w.store, deletes: c.deletes, before: cancel}
			w.o.Store = storeBorder{st}
			require.NoError(t, w.DeleteNode(ctx, w.id))
			require.Equal(t, c.updates, st.updates)
			left, _, err := w.SearchPeers(t.Context(), "", Page{})
			require.NoError(t, err)
			require.Empty(t, left)
			_, err = w.Node(t.Context(), w.id)
			require.ErrorIs(t, err, ErrNotFound)
		})
	}
}

func TestNodesOwnAddressIsNotGivenOut(t *testing.T) {
	w := newWorld(t)
	_, err := w.changeNode(t.Context(), w.id, func(n *Node) error {
		n.Wish.Addresses = &[]netip.Prefix{netip.MustParsePrefix("10.8.0.2/24"), netip.MustParsePrefix("fd00:8::3/64")}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, prefixesOf("10.8.0.3/32", "fd00:8::2/128"), w.create("laptop", nil).AllowedIPs)
	require.Equal(t, prefixesOf("10.8.0.4/32", "fd00:8::4/128"), w.create("phone", nil).AllowedIPs)
}

// An interface that was taken over has its address of before, and no wish names it.
func TestAddressOfAnInterfaceThatWasTakenOver(t *testing.T) {
	w := newWorld(t)
	h := newHost(t, func(o *server.Options) {
		file := "[Interface]\nPrivateKey = " + testKey("node").Reveal().String() + "\nAddress = 10.8.0.2/24\n"
		require.NoError(t, os.WriteFile(filepath.Join(o.ConfDir, "wg0.conf"), []byte(file), 0o600))
	})
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{AgentURL: &h.proxy.URL})
	require.NoError(t, err)
	require.Equal(t, prefixesOf("10.8.0.3/32", "fd00:8::2/128"), w.create("first", nil).AllowedIPs, "before any other contact")
	require.Equal(t, prefixesOf("10.8.0.4/32", "fd00:8::3/128"), w.create("second", nil).AllowedIPs)
}

func TestTooMuchForARecord(t *testing.T) {
	w := newWorld(t)
	refused := func(field string, err error) {
		t.Helper()
		bad, ok := errors.AsType[*InvalidError](err)
		require.True(t, ok, "%s: %v", field, err)
		require.Equal(t, field, bad.Problems[0].Field)
		require.Less(t, len(err.Error()), 200)
	}
	ips := make([]string, 40_000)
	for i := range ips {
		ips[i] = netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}).String()
	}
	for field, in := range map[string]PeerInput{
		"allowed_ips":         {AllowedIPs: &ips},
		"endpoint_allowed_ip": {EndpointAllowedIP: set(strings.Join(ips, ","))},
		"dns":                 {DNS: set(strings.Join(ips, ","))},
	} {
		_, err := w.CreatePeer(t.Context(), w.id, in)
		refused(field, err)
	}
	for field, in := range map[string]NodeInput{
		"override_endpoint_allowed_ip": {Overrides: OverridesInput{EndpointAllowedIP: set(strings.Join(ips, ","))}},
		"override_dns":                 {Overrides: OverridesInput{DNS: set(strings.Join(ips, ","))}},
		"agent_url":                    {AgentURL: new("http://x/" + strings.Repeat("a", 1<<20))},
		"endpoint":                     {Endpoint: new("x:" + strings.Repeat("0", 1<<20) + "1")},
	} {
		_, err := w.UpdateNode(t.Context(), w.id, in)
		refused(field, err)
	}
	_, err := w.changeNode(t.Context(), w.id, func(n *Node) error { n.Endpoint = strings.Repeat("x", store.MaxValue); return nil })
	refused("body", err)
	require.ErrorIs(t, err, store.ErrTooLarge)

	most := ips[:maxAllowedIPs]
	p, err := w.CreatePeer(t.Context(), w.id, PeerInput{AllowedIPs: &most, EndpointAllowedIP: set(strings.Join(most, ","))})
	require.NoError(t, err, "as much as is allowed fits")
	require.Len(t, p.AllowedIPs, maxAllowedIPs)
}

type refusing struct {
	store.Store
	err error
}

func (s refusing) Update(context.Context, func(store.Tx) error) error { return s.err }

func TestStoreThatTakesNothingNow(t *testing.T) {
	w := newWorld(t)
	for _, cause := range []error{store.ErrConflict, store.ErrNoSpace} {
		w.o.Store = storeBorder{refusing{w.store, cause}}
		_, err := w.CreatePeer(t.Context(), w.id, PeerInput{})
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorIs(t, err, cause)
	}
}
