package panel

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client/originaltest"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// keyWith returns a public key that holds a slash, or does not.
func keyWith(slash bool) string {
	for i := 'a'; ; i++ {
		k := publicKey("original " + string(i)).String()
		if strings.Contains(k, "/") == slash {
			return k
		}
	}
}

func privateWithoutSlash() string {
	for i := 'a'; ; i++ {
		if k := testKey("private " + string(i)); !strings.Contains(k.PublicKey().String(), "/") {
			return k.Reveal().String()
		}
	}
}

// A fleet moves over node by node: the original agent is managed too.
func TestOriginalAgent(t *testing.T) {
	old := originaltest.New(testSecret, testKey("node"))
	server := httptest.NewServer(old)
	defer server.Close()
	s, _, _ := newService(t, nil)
	ctx := t.Context()
	n, _, err := s.CreateNode(ctx, NodeInput{
		Name: new("old"), AgentURL: &server.URL, Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24"), Endpoint: new("vpn.example.com"),
	})
	require.NoError(t, err)
	test, err := s.TestNode(ctx, n.ID)
	require.NoError(t, err)
	require.True(t, test.Authenticated)
	require.Empty(t, test.AgentID)

	plain := keyWith(false)
	slash := keyWith(true)
	for _, key := range []string{plain, slash} {
		_, err := s.CreatePeer(ctx, n.ID, PeerInput{PublicKey: &key, PresharedKey: set(testKey("psk").Reveal().String())})
		require.NoError(t, err)
	}
	made, err := s.CreatePeer(ctx, n.ID, PeerInput{Name: new("laptop"), AllowedIPs: new([]string{}), PrivateKey: new(privateWithoutSlash())})
	require.NoError(t, err)
	report := func() drift.Report {
		r, err := s.Drift(ctx, n.ID)
		require.NoError(t, err)
		return r
	}
	require.Equal(t, drift.InSync, report().Status, "a peer without addresses reads (none): %+v", report())
	file, err := s.ClientConfig(ctx, n.ID, made.ID)
	require.NoError(t, err)
	require.Contains(t, file.Text, "PublicKey = "+publicKey("node").String())
	require.Contains(t, file.Text, "Endpoint = vpn.example.com:51820")

	// Every kind of drift at once.
	right := old.Peers()
	old.Remove(plain)
	old.Set(slash, originaltest.Peer{AllowedIPs: []string{"10.8.0.99/32"}, Keepalive: 7})
	old.Set(made.PublicKey.String(), originaltest.Peer{AllowedIPs: []string{"10.8.0.2/32"}, Keepalive: 21, PresharedKey: testKey("x").Reveal().String()})
	stranger := publicKey("stranger").String()
	old.Set(stranger, originaltest.Peer{AllowedIPs: []string{"10.8.0.50/32"}})
	r := report()
	require.Len(t, r.Missing, 1)
	require.Len(t, r.Mismatched, 2)
	require.Len(t, r.Unknown, 1)
	o := ReconcileOptions{Missing: true, Mismatched: true}
	done, err := s.Reconcile(ctx, n.ID, o)
	require.NoError(t, err)
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)
	require.Equal(t, right[made.PublicKey.String()], old.Peers()[made.PublicKey.String()])
	require.Equal(t, right[plain], old.Peers()[plain])
	require.Equal(t, right[slash], old.Peers()[slash])
	require.Contains(t, old.Peers(), stranger)
	writes := old.Writes()
	_, err = s.Reconcile(ctx, n.ID, o)
	require.NoError(t, err)
	require.Equal(t, writes, old.Writes())
	require.ErrorContains(t, errOf(s.CreatePeer(ctx, n.ID, PeerInput{PublicKey: &slash})), "belongs to")

	list, _, err := s.Peers(ctx, n.ID, Page{})
	require.NoError(t, err)
	for _, p := range list {
		err := s.DeletePeer(ctx, n.ID, p.ID, false)
		if strings.Contains(p.PublicKey.String(), "/") {
			require.ErrorIs(t, err, ErrNode)
			require.ErrorContains(t, err, "slash", "the limitation has a name")
		} else {
			require.NoError(t, err)
		}
	}
	_, err = s.ChangeInterface(ctx, n.ID, func(i *InterfaceWish) error { i.ListenPort = new(4); return nil })
	require.NoError(t, err)
	require.ErrorContains(t, s.SyncInterface(ctx, n.ID), "original agent")
}

func errOf(_ any, err error) error { return err }
