package panel

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// A node's own pools, hooks and port win over its template's, and over what was seen.
func TestSettingsOfTheNodeAlone(t *testing.T) {
	l := newLayered(t)
	hooks := agent.Hooks{PostUp: []string{"true"}}
	_, err := l.UpdateTemplate(t.Context(), l.nodeTemplate, TemplateInput{Hooks: set(hooks), IPPoolCIDR: new("10.77.0.0/24")})
	require.NoError(t, err)
	self := Source{Kind: SourceNode, ID: l.id, Name: "n1"}
	template := Source{Kind: SourceTemplate, ID: l.nodeTemplate, Name: "node template"}

	require.Equal(t, EffectiveField{"ip_pool_cidr", Origin{"10.8.0.0/24, fd00:8::/64", self}, []Origin{{"10.77.0.0/24", template}, {"", Source{Kind: SourceDefault}}}},
		l.setting("", "ip_pool_cidr"))
	require.Equal(t, EffectiveField{"hooks", Origin{hooks, template}, []Origin{}}, l.setting("", "hooks"))
	require.Equal(t, EffectiveField{"listen_port", Origin{51820, Source{Kind: SourceObserved}}, []Origin{}}, l.setting("", "listen_port"))
	require.Equal(t, "vpn.example.com:51820", l.setting("", "endpoint").Value)

	wish, err := l.Interface(t.Context(), l.id)
	require.NoError(t, err)
	require.Equal(t, &hooks, wish.Hooks, "what is wanted of the interface")
	_, err = l.setInterface(InterfaceWish{Hooks: &agent.Hooks{}})
	require.NoError(t, err)
	require.Equal(t, EffectiveField{"hooks", Origin{agent.Hooks{}, self}, []Origin{{hooks, template}}}, l.setting("", "hooks"))

	_, err = l.UpdateNode(t.Context(), l.id, NodeInput{IPPoolCIDR: new(""), Overrides: OverridesInput{ListenPort: set(443)}})
	require.NoError(t, err)
	require.Equal(t, prefixesOf("10.77.0.2/32"), l.create("phone", nil).AllowedIPs, "the template's pool, less the node's own address")
	require.Equal(t, 443, l.setting("", "listen_port").Value)

	_, err = l.EffectiveSettings(t.Context(), "nobody", "")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = l.EffectiveSettings(t.Context(), l.id, "nobody")
	require.ErrorIs(t, err, ErrNotFound)
}

// A change reaches a node whose state is known already: its next look compares with the new wish.
func TestChangeReachesWhatIsCached(t *testing.T) {
	for name, change := range map[string]func(*layered){
		"group":         func(l *layered) { l.setGroup(ValuesInput{Keepalive: set(33)}) },
		"node template": func(l *layered) { l.setTemplate(l.nodeTemplate, ValuesInput{Keepalive: set(33)}) },
		"peer template": func(l *layered) { l.setTemplate(l.peerTemplate, ValuesInput{Keepalive: set(33)}) },
		"another group": func(l *layered) {
			other := l.addGroup("another")
			_, err := l.UpdateGroup(l.t.Context(), other, GroupInput{Overrides: ValuesInput{Keepalive: set(33)}})
			require.NoError(l.t, err)
			l.place(set(other), Optional[string]{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayered(t)
			require.Equal(t, drift.InSync, l.drift().Status)
			before, err := l.Node(t.Context(), l.id)
			require.NoError(t, err)
			writes := l.writes.Load()
			change(l)
			require.Equal(t, writes, l.writes.Load(), "nothing is written to the node")
			r := l.drift()
			require.Equal(t, drift.Drifted, r.Status)
			require.Equal(t, []drift.Mismatch{{Field: drift.FieldKeepalive, Expected: 33, Actual: 21}}, r.Mismatched[0].Mismatches)
			after, err := l.Node(t.Context(), l.id)
			require.NoError(t, err)
			require.Greater(t, after.Revision, before.Revision)
			for _, c := range after.Status.Conditions {
				if c.Type == "Synced" {
					require.Equal(t, after.Revision, c.ObservedRevision)
				}
			}
			require.True(t, l.reconcile(everything).Verified)
			require.Equal(t, drift.InSync, l.drift().Status)
		})
	}
}

// What is in use is not deleted; what is not, is, and its name is free again.
func TestDeletionWhileInUse(t *testing.T) {
	l := newLayered(t)
	ctx := t.Context()
	for id, c := range map[string]struct {
		del  func() error
		says string
	}{
		l.group:        {func() error { return l.DeleteGroup(ctx, l.group) }, `1 node is in group "group": take them out of it first`},
		l.nodeTemplate: {func() error { return l.DeleteTemplate(ctx, l.nodeTemplate) }, `1 node uses template "node template": give them another one first`},
		l.peerTemplate: {func() error { return l.DeleteTemplate(ctx, l.peerTemplate) }, `1 peer uses template "peer template": give them another one first`},
	} {
		err := c.del()
		require.ErrorIs(t, err, ErrConflict, id)
		require.EqualError(t, err, c.says)
	}
	l.place(cleared[string](), cleared[string]())
	require.NoError(t, l.DeletePeer(ctx, l.id, l.peer.ID, false))
	require.NoError(t, l.DeleteGroup(ctx, l.group))
	require.NoError(t, l.DeleteTemplate(ctx, l.nodeTemplate))
	require.NoError(t, l.DeleteTemplate(ctx, l.peerTemplate))
	require.ErrorIs(t, l.DeleteGroup(ctx, l.group), ErrNotFound)
	require.ErrorIs(t, l.DeleteTemplate(ctx, l.peerTemplate), ErrNotFound)
	l.addGroup("group")
	l.addTemplate("peer template", KindNode)
}

// A node that is deleted with its peers lets go of all that it used.
func TestDeletedNodeUsesNothing(t *testing.T) {
	l := newLayered(t)
	require.NoError(t, l.DeleteNode(t.Context(), l.id))
	require.NoError(t, l.DeleteGroup(t.Context(), l.group))
	require.NoError(t, l.DeleteTemplate(t.Context(), l.nodeTemplate))
	require.NoError(t, l.DeleteTemplate(t.Context(), l.peerTemplate))
}

func TestCountsOfGroupsAndTemplates(t *testing.T) {
	l := newLayered(t)
	l.create("phone", func(in *PeerInput) { in.TemplateID = set(l.peerTemplate) })
	l.create("plain", nil)
	_, _, err := l.CreateNode(t.Context(), NodeInput{Name: new("n2"), AgentURL: &l.proxy.URL, GroupID: set(l.group)})
	require.NoError(t, err)
	empty := l.addGroup("empty")
	counts := make(map[string][2]int)
	for cursor, more := "", true; more; more = cursor != "" {
		var page []GroupView
		page, cursor, err = l.Groups(t.Context(), Page{Limit: 1, Cursor: cursor})
		require.NoError(t, err)
		require.Len(t, page, 1)
		counts[page[0].ID] = [2]int{page[0].NodeCount}
	}
	for cursor, more := "", true; more; more = cursor != "" {
		var page []TemplateView
		page, cursor, err = l.Templates(t.Context(), Page{Limit: 1, Cursor: cursor})
		require.NoError(t, err)
		require.Len(t, page, 1)
		counts[page[0].ID] = [2]int{page[0].NodeCount, page[0].PeerCount}
	}
	require.Equal(t, map[string][2]int{l.group: {2}, empty: {}, l.nodeTemplate: {1}, l.peerTemplate: {1, 2}}, counts)
	one, err := l.Template(t.Context(), l.peerTemplate)
	require.NoError(t, err)
	require.Equal(t, 2, one.PeerCount)
}

// Each field is held to the same rules as where it stood before, and names itself.
func TestRefusedPresets(t *testing.T) {
	l := newLayered(t)
	ctx := t.Context()
	group := func(in GroupInput) error { _, err := l.UpdateGroup(ctx, l.group, in); return err }
	node := func(in TemplateInput) error { _, err := l.UpdateTemplate(ctx, l.nodeTemplate, in); return err }
	peer := func(in TemplateInput) error { _, err := l.UpdateTemplate(ctx, l.peerTemplate, in); return err }
	values := func(v ValuesInput) TemplateInput { return TemplateInput{Values: v} }
	long := func(n int) string { return fmt.Sprintf("%0*d", n, 0) }
	updateNode := func(in NodeInput) error { _, err := l.UpdateNode(ctx, l.id, in); return err }
	updatePeer := func(in PeerInput) error { _, err := l.UpdatePeer(ctx, l.id, l.peer.ID, in); return err }
	create := func(in TemplateInput) error { _, err := l.CreateTemplate(ctx, in); return err }
	for name, c := range map[string]struct {
		err   error
		field string
	}{
		"no name of a group":    {func() error { _, err := l.CreateGroup(ctx, GroupInput{}); return err }(), "name"},
		"empty name":            {group(GroupInput{Name: new(" ")}), "name"},
		"long description":      {group(GroupInput{Description: new(long(maxDescription + 1))}), "description"},
		"lines of description":  {group(GroupInput{Description: new("a\nb")}), "description"},
		"group's DNS":           {group(GroupInput{Overrides: ValuesInput{DNS: set("1.1.1")}}), "override_dns"},
		"group's MTU":           {group(GroupInput{Overrides: ValuesInput{MTU: set(575)}}), "override_mtu"},
		"group's MTU with IPv6": {group(GroupInput{Overrides: ValuesInput{MTU: set(1279)}}), "override_mtu"},
		"group's keepalive":     {group(GroupInput{Overrides: ValuesInput{Keepalive: set(65536)}}), "override_keepalive"},
		"group's prefixes":      {group(GroupInput{Overrides: ValuesInput{EndpointAllowedIP: set("x")}}), "override_endpoint_allowed_ip"},
		"no kind":               {create(TemplateInput{Name: new("x")}), "kind"},
		"another kind":          {create(TemplateInput{Name: new("x"), Kind: new("router")}), "kind"},
		"kind that changes":     {node(TemplateInput{Kind: new(KindPeer)}), "kind"},
		"template's DNS":        {peer(values(ValuesInput{DNS: set("1.1.1")})), "dns"},
		"template's MTU":        {peer(values(ValuesInput{MTU: set(70000)})), "mtu"},
		"MTU of an IPv6 node":   {node(values(ValuesInput{MTU: set(1279)})), "mtu"},
		"MTU of an IPv6 peer":   {peer(values(ValuesInput{MTU: set(1279)})), "mtu"},
		"MTU beside its pool":   {create(TemplateInput{Name: new("x"), Kind: new(KindNode), IPPoolCIDR: new("fd00::/64"), Values: ValuesInput{MTU: set(1279)}}), "mtu"},
		"template's keepalive":  {node(values(ValuesInput{Keepalive: set(-1)})), "keepalive"},
		"template's prefixes":   {node(values(ValuesInput{EndpointAllowedIP: set("")})), "endpoint_allowed_ip"},
		"template's pool":       {node(TemplateInput{IPPoolCIDR: new("10.0.0.0/8, 10.1.0.0/16")}), "ip_pool_cidr"},
		"template's hooks":      {node(TemplateInput{Hooks: set(agent.Hooks{PostUp: []string{"a\nb"}})}), "hooks"},
		"hooks of a peer":       {peer(TemplateInput{Hooks: set(agent.Hooks{})}), "hooks"},
		"pool of a peer":        {peer(TemplateInput{IPPoolCIDR: new("10.0.0.0/8")}), "ip_pool_cidr"},
		"no such group":         {updateNode(NodeInput{GroupID: set("nobody")}), "group_id"},
		"a group that is none":  {updateNode(NodeInput{GroupID: set("a/b")}), "group_id"},
		"no such template":      {updateNode(NodeInput{TemplateID: set("nobody")}), "template_id"},
		"a peer's, for a node":  {updateNode(NodeInput{TemplateID: set(l.peerTemplate)}), "template_id"},
		"a node's, for a peer":  {updatePeer(PeerInput{TemplateID: set(l.nodeTemplate)}), "template_id"},
		"none, for a peer":      {updatePeer(PeerInput{TemplateID: set("a/b")}), "template_id"},
	} {
		t.Run(name, func(t *testing.T) {
			var invalid *InvalidError
			require.ErrorAs(t, c.err, &invalid)
			require.Len(t, invalid.Problems, 1)
			require.Equal(t, c.field, invalid.Problems[0].Field, invalid)
		})
	}
	require.NoError(t, group(GroupInput{}))
	l.addGroup("taken")
	require.ErrorIs(t, group(GroupInput{Name: new("taken")}), ErrConflict)
	require.NoError(t, group(GroupInput{Name: new("free")}))
	l.addGroup("group")
	require.Equal(t, drift.InSync, l.drift().Status, "nothing that was refused was kept")
}

// A low MTU that nothing of IPv6 was in the way of keeps IPv6 out.
func TestLowMTUOfAGroupKeepsIPv6Out(t *testing.T) {
	l := newLayered(t)
	low := l.addGroup("low")
	_, err := l.UpdateGroup(t.Context(), low, GroupInput{Overrides: ValuesInput{MTU: set(1200)}})
	require.NoError(t, err)
	_, err = l.UpdateNode(t.Context(), l.id, NodeInput{GroupID: set(low)})
	require.ErrorContains(t, err, `1200 is too low for node "n1", which has an IPv6 pool`)
	_, err = l.UpdateNode(t.Context(), l.id, NodeInput{GroupID: set(low), IPPoolCIDR: new("10.8.0.0/24")})
	require.NoError(t, err)
	_, err = l.UpdateNode(t.Context(), l.id, NodeInput{IPPoolCIDR: new("10.8.0.0/24, fd00:8::/64")})
	require.Error(t, err)
	lowPeer := l.addTemplate("low peer", KindPeer)
	l.setTemplate(lowPeer, ValuesInput{MTU: set(1200)})
	_, err = l.UpdatePeer(t.Context(), l.id, l.peer.ID, PeerInput{TemplateID: set(lowPeer)})
	require.ErrorContains(t, err, "which has an IPv6 address")
	_, err = l.UpdatePeer(t.Context(), l.id, l.peer.ID, PeerInput{TemplateID: set(lowPeer), MTU: set(1300)})
	require.NoError(t, err)
}

// More nodes than fit into one transaction of the engine change as one, each with its own revision.
func TestGroupOfManyNodes(t *testing.T) {
	const nodes = 2500
	s, st, _ := newService(t, nil)
	g, err := s.CreateGroup(t.Context(), GroupInput{Name: new("all")})
	require.NoError(t, err)
	var ids []string
	require.NoError(t, st.Update(t.Context(), func(tx store.Tx) error {
		ids = nil
		for i := range nodes {
			id, err := store.NewID(s.now(), s.o.Rand)
			if err != nil {
				return err
			}
			ids = append(ids, id)
			n := Node{ID: id, Name: fmt.Sprint("n", i), GroupID: g.ID, Revision: uint64(i + 1)}
			if err := errors.Join(nodeTable.Put(tx, id, recordOfNode(n, 0)), moveUse(tx, id, "", g.ID)); err != nil {
				return err
			}
		}
		return nil
	}))
	g, err = s.UpdateGroup(t.Context(), g.ID, GroupInput{Overrides: ValuesInput{MTU: set(1300)}})
	require.NoError(t, err)
	require.Equal(t, nodes, g.NodeCount)
	for i, id := range ids {
		n, err := s.Node(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, uint64(i+2), n.Revision)
	}
	require.ErrorContains(t, s.DeleteGroup(t.Context(), g.ID), "2500 nodes are in group")
}

// scans counts the reads of whole tables.
type scans struct {
	store.Store
	of map[string]int
}

func (s scans) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return fn(scannedTx{tx, s.of}) })
}

type scannedTx struct {
	store.Tx
	of map[string]int
}

func (t scannedTx) Scan(prefix, after string) iter.Seq2[store.Record, error] {
	t.of[prefix]++
	return t.Tx.Scan(prefix, after)
}

// A changed template is read once, not once for each node that it reaches, and a peer's change reads none.
func TestPresetsAreReadOnce(t *testing.T) {
	s, _, _ := newService(t, nil)
	tpl, err := s.CreateTemplate(t.Context(), TemplateInput{Name: new("t"), Kind: new(KindNode)})
	require.NoError(t, err)
	var id string
	for i := range 5 {
		id = offlineNode(t, s, fmt.Sprint(i))
		_, err := s.UpdateNode(t.Context(), id, NodeInput{TemplateID: set(tpl.ID)})
		require.NoError(t, err)
	}
	counted := scans{s.o.Store, map[string]int{}}
	s.o.Store = counted
	_, err = s.UpdateTemplate(t.Context(), tpl.ID, TemplateInput{Name: new("other")})
	require.NoError(t, err)
	require.Equal(t, 1, counted.of[templateTable.Prefix()])
	_, err = s.CreatePeer(t.Context(), id, PeerInput{AllowOffline: true})
	require.NoError(t, err)
	require.Equal(t, 1, counted.of[templateTable.Prefix()])
}
