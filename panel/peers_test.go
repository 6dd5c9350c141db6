package panel

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

func TestCreatePeer(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	require.Equal(t, prefixesOf("10.8.0.2/32", "fd00:8::2/128"), p.AllowedIPs)
	require.Equal(t, p.PrivateKey.PublicKey(), p.PublicKey)
	require.Equal(t, "wg0", p.Interface)
	require.Equal(t, Effective{
		DNS: "1.1.1.1", MTU: 1420, Keepalive: 21, EndpointAllowedIP: "0.0.0.0/0, ::/0", Endpoint: "vpn.example.com:51820",
	}, p.Effective)
	on, ok := w.peer(p.PublicKey)
	require.True(t, ok)
	require.Equal(t, engine.Peer{PublicKey: p.PublicKey, PresharedKey: p.PresharedKey, AllowedIPs: p.AllowedIPs, PersistentKeepalive: 21}, on)
	got, err := w.Peer(t.Context(), w.id, p.ID)
	require.NoError(t, err)
	require.Equal(t, p, got)
	n, err := w.Node(t.Context(), w.id)
	require.NoError(t, err)
	require.Equal(t, 1, n.PeerCount)
	require.Equal(t, publicKey("node").String(), n.SeenPublicKey)
	require.Equal(t, w.agent.ID(), n.AgentID, "pinned at the first signed contact")
	require.True(t, n.SpeaksV2)
	second := w.create("phone", nil)
	require.Equal(t, prefixesOf("10.8.0.3/32", "fd00:8::3/128"), second.AllowedIPs)
}

func TestUpdateAndDeletePeer(t *testing.T) {
	w := newWorld(t)
	a, b := w.create("a", nil), w.create("b", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	writes := w.writes.Load()
	u, err := w.UpdatePeer(t.Context(), w.id, a.ID, PeerInput{Name: new("renamed"), DNS: set("9.9.9.9,corp.example"), MTU: set(1400)})
	require.NoError(t, err)
	require.Equal(t, "9.9.9.9, corp.example", u.Effective.DNS)
	require.Equal(t, writes, w.writes.Load(), "the client's side alone: the node has nothing to learn")

	_, err = w.UpdatePeer(t.Context(), w.id, b.ID, PeerInput{AllowedIPs: new([]string{"10.8.0.200"}), Keepalive: set(0), PresharedKey: cleared[string]()})
	require.NoError(t, err)
	on, _ := w.peer(b.PublicKey)
	require.Equal(t, engine.Peer{PublicKey: b.PublicKey, AllowedIPs: prefixesOf("10.8.0.200/32")}, on)
	require.Equal(t, prefixesOf("10.8.0.3/32", "fd00:8::3/128"), w.create("takes what b left", nil).AllowedIPs)

	_, err = w.UpdatePeer(t.Context(), w.id, b.ID, PeerInput{Enabled: new(false)})
	require.NoError(t, err)
	_, there := w.peer(b.PublicKey)
	require.False(t, there, "a disabled peer is not on the node")
	require.Equal(t, drift.InSync, w.drift().Status)
	_, err = w.UpdatePeer(t.Context(), w.id, b.ID, PeerInput{Enabled: new(true), PublicKey: new(publicKey("other").String())})
	require.NoError(t, err)
	_, there = w.peer(publicKey("other"))
	require.True(t, there)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, b.ID, false))
	_, there = w.peer(publicKey("other"))
	require.False(t, there)
	_, err = w.Peer(t.Context(), w.id, b.ID)
	require.ErrorIs(t, err, ErrNotFound)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, a.ID, false))
	list, _, err := w.Peers(t.Context(), w.id, Page{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, list[0].ID, false), "the last one too")
	require.Empty(t, w.peers())
	require.Equal(t, drift.InSync, w.drift().Status)
}

// A node that does not take a peer leaves everything as it was, unless the change may wait.
func TestUnreachableNodeChangesNothing(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", nil)
	w.cut.Store(new(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusBadGateway)
		return true
	}))
	ctx := t.Context()
	failed := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, ErrNode)
		e, ok := errors.AsType[*NodeError](err)
		require.True(t, ok)
		require.Equal(t, w.id, e.NodeID)
		list, _, err := w.Peers(ctx, w.id, Page{})
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, p.Peer, list[0].Peer)
	}
	_, err := w.CreatePeer(ctx, w.id, PeerInput{Name: new("x")})
	failed(err)
	_, err = w.UpdatePeer(ctx, w.id, p.ID, PeerInput{Keepalive: set(99)})
	failed(err)
	failed(w.DeletePeer(ctx, w.id, p.ID, false))

	kept, err := w.CreatePeer(ctx, w.id, PeerInput{Name: new("x"), AllowOffline: true})
	require.NoError(t, err)
	require.Equal(t, prefixesOf("10.8.0.3/32", "fd00:8::3/128"), kept.AllowedIPs, "what was compensated is free again")
	w.honest()
	require.Len(t, w.drift().Missing, 1)
	require.NoError(t, w.DeletePeer(ctx, w.id, p.ID, false))
	require.Equal(t, []string{kept.PublicKey.String()}, w.reconcile(everything).Added)
}

// A peer that only the node knows has the lowest free address.
func TestAddressThatTheNodeGaveAway(t *testing.T) {
	w := newWorld(t)
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.8.0.2/32")}})
	p := w.create("laptop", nil)
	require.Equal(t, prefixesOf("10.8.0.3/32", "fd00:8::2/128"), p.AllowedIPs)
	_, err := w.CreatePeer(t.Context(), w.id, PeerInput{AllowedIPs: new([]string{"10.8.0.2"})})
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, publicKey("stranger").String())
}

func TestConflicts(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", nil)
	ctx := t.Context()
	for name, c := range map[string]struct {
		in   PeerInput
		says string
	}{
		"the same key":         {PeerInput{PublicKey: new(p.PublicKey.String())}, `"laptop"`},
		"the same prefix":      {PeerInput{AllowedIPs: new([]string{"10.8.0.2/32"})}, `"laptop"`},
		"the node's address":   {PeerInput{AllowedIPs: new([]string{"10.8.0.1"})}, "the node's own address"},
		"the node's IPv6":      {PeerInput{AllowedIPs: new([]string{"fd00:8::1"})}, "the node's own address"},
		"the node's own key":   {PeerInput{PublicKey: new(publicKey("node").String())}, "the node's own"},
		"the same, written so": {PeerInput{AllowedIPs: new([]string{"::ffff:10.8.0.2"})}, `"laptop"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.CreatePeer(ctx, w.id, c.in)
			require.ErrorIs(t, err, ErrConflict)
			require.ErrorContains(t, err, c.says)
		})
	}
	nested, err := w.CreatePeer(ctx, w.id, PeerInput{Name: new("site"), AllowedIPs: new([]string{"10.8.0.0/30"})})
	require.NoError(t, err, "legal in WireGuard")
	require.Len(t, nested.Warnings, 1)
	require.Contains(t, nested.Warnings[0], `"laptop"`)
	require.Len(t, w.peers(), 2)

	_, err = w.UpdateNode(ctx, w.id, NodeInput{MaxPeers: new(2)})
	require.NoError(t, err)
	_, err = w.CreatePeer(ctx, w.id, PeerInput{})
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, "max_peers")
	_, err = w.CreatePeer(ctx, NodeAuto, PeerInput{})
	require.ErrorIs(t, err, ErrConflict)
}

func TestBadInputIsRefused(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	v, err := w.Node(ctx, w.id)
	require.NoError(t, err)
	for field, in := range map[string]PeerInput{
		"name":                 {Name: new(" ")},
		"public_key":           {PublicKey: new("abc")},
		"private_key":          {PrivateKey: new("not a key, and secret")},
		"preshared_key":        {PresharedKey: set("short, and secret")},
		"allowed_ips":          {AllowedIPs: new([]string{"10.0.0.0/33"})},
		"persistent_keepalive": {Keepalive: set(65536)},
		"dns":                  {DNS: set("not an address!")},
		"mtu":                  {MTU: set(1279)},
		"endpoint_allowed_ip":  {EndpointAllowedIP: set("nonsense")},
	} {
		_, err := w.CreatePeer(ctx, w.id, in)
		bad, ok := errors.AsType[*InvalidError](err)
		require.True(t, ok, "%s: %v", field, err)
		require.Equal(t, field, bad.Problems[0].Field)
		require.NotContains(t, err.Error(), "secret")
	}
	for field, in := range map[string]NodeInput{
		"name":                         {Name: new(strings.Repeat("x", 129))},
		"agent_url":                    {AgentURL: new("ftp://x")},
		"secret":                       {Secret: new(testSecret[:0])},
		"wg_interface":                 {WGInterface: new("../etc")},
		"endpoint":                     {Endpoint: new("vpn.example.com:70000")},
		"ip_pool_cidr":                 {IPPoolCIDR: new("10.0.0.0/8, 10.1.0.0/16")},
		"weight":                       {Weight: new(0)},
		"max_peers":                    {MaxPeers: new(-1)},
		"tls_pin":                      {TLSPin: new("12ab")},
		"override_listen_port":         {Overrides: OverridesInput{ListenPort: set(0)}},
		"override_dns":                 {Overrides: OverridesInput{DNS: set("8.8.8")}},
		"override_mtu":                 {Overrides: OverridesInput{MTU: set(1000)}},
		"override_keepalive":           {Overrides: OverridesInput{Keepalive: set(-1)}},
		"override_endpoint_allowed_ip": {Overrides: OverridesInput{EndpointAllowedIP: set("")}},
	} {
		_, err := w.UpdateNode(ctx, w.id, in)
		bad, ok := errors.AsType[*InvalidError](err)
		require.True(t, ok, "%s: %v", field, err)
		require.Equal(t, field, bad.Problems[0].Field)
	}
	for _, name := range []string{"a/b", "/", `a\b`, ".", "..", " .. ", "../../etc"} {
		_, err := w.CreatePeer(ctx, w.id, PeerInput{Name: &name})
		require.ErrorContains(t, err, "name: must not hold / or \\, nor be . or ..", name)
		_, err = w.UpdateNode(ctx, w.id, NodeInput{Name: &name})
		require.ErrorContains(t, err, "name: must not hold", name)
		_, _, err = w.CreateNode(ctx, NodeInput{Name: &name, AgentURL: new("http://10.0.0.1")})
		require.ErrorContains(t, err, "name: must not hold", name)
		_, _, err = w.CreateKey(ctx, name, RoleViewer)
		require.ErrorContains(t, err, "name: must not hold", name)
	}
	after, err := w.Node(ctx, w.id)
	require.NoError(t, err)
	require.Equal(t, v, after, "nothing has changed")
	_, _, err = w.CreateNode(ctx, NodeInput{Name: new("n1"), AgentURL: new("http://10.0.0.1")})
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, "n1")
}

// The base64 of a key may hold what a name may not.
func TestANameThatIsMadeIsOneThatIsTaken(t *testing.T) {
	var k wgtypes.Key
	for _, prefix := range []string{"peer", "adopted"} {
		for b := range 256 {
			for i := range k {
				k[i] = byte(b)
			}
			var p problems
			p.name("name", defaultName(prefix, k))
			require.NoError(t, p.err())
		}
	}
}

func TestClientConfigNeedsWhatItHolds(t *testing.T) {
	w := newWorld(t)
	p := w.create("no key here", func(in *PeerInput) { in.PublicKey = new(publicKey("x").String()) })
	_, err := w.ClientConfig(t.Context(), w.id, p.ID)
	require.ErrorIs(t, err, ErrNoPrivateKey)
	q := w.create("laptop", nil)
	_, err = w.UpdateNode(t.Context(), w.id, NodeInput{Endpoint: new("")})
	require.NoError(t, err)
	file, err := w.ClientConfig(t.Context(), w.id, q.ID)
	require.NoError(t, err)
	require.Contains(t, file.Text, "# Endpoint is missing")
	require.NotContains(t, file.Text, "Endpoint =")

	dead, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("dead"), AgentURL: new("http://127.0.0.1:1"), IPPoolCIDR: new("10.9.0.0/24")})
	require.NoError(t, err)
	r, err := w.CreatePeer(t.Context(), dead.ID, PeerInput{AllowOffline: true})
	require.NoError(t, err)
	_, err = w.ClientConfig(t.Context(), dead.ID, r.ID)
	require.ErrorIs(t, err, ErrNode, "the node's public key is not known, and it does not answer")
}

func TestPages(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.create(fmt.Sprint("peer ", i), nil)
	}
	var names []string
	for cursor := ""; ; {
		list, next, err := w.Peers(t.Context(), w.id, Page{Limit: 2, Cursor: cursor})
		require.NoError(t, err)
		for _, p := range list {
			names = append(names, p.Name)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Len(t, names, 5)
	found, next, err := w.SearchPeers(t.Context(), "PEER", Page{Limit: 4})
	require.NoError(t, err)
	require.Len(t, found, 4)
	rest, _, err := w.SearchPeers(t.Context(), "peer", Page{Limit: 4, Cursor: next})
	require.NoError(t, err)
	require.Len(t, rest, 1)
	one, _, err := w.SearchPeers(t.Context(), "10.8.0.4", Page{})
	require.NoError(t, err)
	require.Len(t, one, 1)
}

// Nothing that the panel says or logs holds a secret.
func TestNoSecretLeaves(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	have, _ := w.peer(p.PublicKey)
	w.write(engine.PeerChange{Before: &have})
	said := fmt.Sprintf("%+v %#v %v", w.drift(), p, w.reconcile(ReconcileOptions{Missing: true, DryRun: true}))
	w.reconcile(everything)
	w.cut.Store(new(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusInternalServerError)
		return true
	}))
	_, err := w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{PresharedKey: set(AutoPresharedKey)})
	n, _ := w.Node(t.Context(), w.id)
	said += w.logs.String() + fmt.Sprintf("%+v %#v %v", n, n, err)
	for _, secret := range []string{string(testSecret), p.PrivateKey.Reveal().String(), p.PresharedKey.Reveal().String()} {
		require.NotContains(t, said, secret)
	}
}
