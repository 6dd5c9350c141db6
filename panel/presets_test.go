package panel

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// layered is a world whose node has a group and a template, and whose one peer has a template.
type layered struct {
	*world
	group, nodeTemplate, peerTemplate string
	peer                              PeerView
}

func newLayered(t testing.TB) *layered {
	t.Helper()
	l := &layered{world: newWorld(t)}
	l.group = l.addGroup("group")
	l.nodeTemplate, l.peerTemplate = l.addTemplate("node template", KindNode), l.addTemplate("peer template", KindPeer)
	l.place(set(l.group), set(l.nodeTemplate))
	l.peer = l.create("laptop", func(in *PeerInput) { in.TemplateID = set(l.peerTemplate) })
	return l
}

// place puts the node into a group and gives it a template.
func (l *layered) place(group, template Optional[string]) {
	l.t.Helper()
	_, err := l.UpdateNode(l.t.Context(), l.id, NodeInput{GroupID: group, TemplateID: template})
	require.NoError(l.t, err)
}

func (w *world) addGroup(name string) string {
	w.t.Helper()
	g, err := w.CreateGroup(w.t.Context(), GroupInput{Name: &name})
	require.NoError(w.t, err)
	return g.ID
}

func (w *world) addTemplate(name, kind string) string {
	w.t.Helper()
	v, err := w.CreateTemplate(w.t.Context(), TemplateInput{Name: &name, Kind: &kind})
	require.NoError(w.t, err)
	return v.ID
}

func (l *layered) setGroup(v ValuesInput) {
	l.t.Helper()
	_, err := l.UpdateGroup(l.t.Context(), l.group, GroupInput{Overrides: v})
	require.NoError(l.t, err)
}

func (l *layered) setTemplate(id string, v ValuesInput) {
	l.t.Helper()
	_, err := l.UpdateTemplate(l.t.Context(), id, TemplateInput{Values: v})
	require.NoError(l.t, err)
}

// give sets what one layer says: 0 is the peer, 4 the group, as in Node.layers.
func (l *layered) give(layer int, v ValuesInput) {
	l.t.Helper()
	var err error
	switch layer {
	case 0:
		_, err = l.UpdatePeer(l.t.Context(), l.id, l.peer.ID, PeerInput{
			DNS: v.DNS, MTU: v.MTU, Keepalive: v.Keepalive, EndpointAllowedIP: v.EndpointAllowedIP,
		})
	case 1:
		l.setTemplate(l.peerTemplate, v)
	case 2:
		_, err = l.UpdateNode(l.t.Context(), l.id, NodeInput{Overrides: OverridesInput{
			DNS: v.DNS, MTU: v.MTU, Keepalive: v.Keepalive, EndpointAllowedIP: v.EndpointAllowedIP,
		}})
	case 3:
		l.setTemplate(l.nodeTemplate, v)
	case 4:
		l.setGroup(v)
	}
	require.NoError(l.t, err)
}

// saying is what layer i says in these tests, another value in each.
func saying(i int) ValuesInput {
	return ValuesInput{
		DNS: set(fmt.Sprintf("10.0.0.%d", i+1)), MTU: set(1300 + i), Keepalive: set(100 + i), EndpointAllowedIP: set(fmt.Sprintf("10.%d.0.0/16", i+1)),
	}
}

var silence = ValuesInput{DNS: cleared[string](), MTU: cleared[int](), Keepalive: cleared[int](), EndpointAllowedIP: cleared[string]()}

// Every set of layers that say something: the first of them holds, and the others are told.
func TestPrecedence(t *testing.T) {
	l := newLayered(t)
	kinds := []string{SourcePeer, SourcePeerTemplate, SourceNode, SourceTemplate, SourceGroup}
	ids := []string{l.peer.ID, l.peerTemplate, l.id, l.nodeTemplate, l.group}
	names := []string{"laptop", "peer template", "n1", "node template", "group"}
	for mask := range 1 << len(kinds) {
		var want []Origin
		for i := range kinds {
			says := silence
			if mask&(1<<i) != 0 {
				says = saying(i)
				want = append(want, Origin{Value: 100 + i, Source: Source{Kind: kinds[i], ID: ids[i], Name: names[i]}})
			}
			l.give(i, says)
		}
		want = append(want, Origin{Value: DefaultKeepalive, Source: Source{Kind: SourceDefault}})
		got, err := l.Peer(t.Context(), l.id, l.peer.ID)
		require.NoError(t, err)
		expected := Effective{
			DNS: DefaultDNS, MTU: DefaultMTU, Keepalive: DefaultKeepalive, EndpointAllowedIP: DefaultEndpointAllowedIP, Endpoint: "vpn.example.com:51820",
		}
		for i := range kinds {
			if mask&(1<<i) != 0 {
				s := saying(i)
				expected.DNS, expected.MTU, expected.Keepalive, expected.EndpointAllowedIP = *s.DNS.Value, *s.MTU.Value, *s.Keepalive.Value, *s.EndpointAllowedIP.Value
				break
			}
		}
		require.Equal(t, expected, got.Effective, "%05b", mask)
		listed, _, err := l.Peers(t.Context(), l.id, Page{})
		require.NoError(t, err)
		require.Equal(t, expected, listed[0].Effective)
		found, _, err := l.SearchPeers(t.Context(), "laptop", Page{})
		require.NoError(t, err)
		require.Equal(t, expected, found[0].Effective)
		field := l.setting(l.peer.ID, "keepalive")
		require.Equal(t, want, append([]Origin{field.Origin}, field.Overridden...), "%05b", mask)
		require.Equal(t, expected.DNS, l.setting(l.peer.ID, "dns").Value)
		require.Equal(t, expected.MTU, l.setting(l.peer.ID, "mtu").Value)
		require.Equal(t, expected.EndpointAllowedIP, l.setting(l.peer.ID, "endpoint_allowed_ip").Value)
		ofNode := slices.DeleteFunc(want, func(o Origin) bool { return o.Kind == SourcePeer || o.Kind == SourcePeerTemplate })
		field = l.setting("", "keepalive")
		require.Equal(t, ofNode, append([]Origin{field.Origin}, field.Overridden...), "%05b", mask)
	}
}

func (w *world) setting(peerID, name string) EffectiveField {
	w.t.Helper()
	fields, err := w.EffectiveSettings(w.t.Context(), w.id, peerID)
	require.NoError(w.t, err)
	i := slices.IndexFunc(fields, func(f EffectiveField) bool { return f.Field == name })
	require.GreaterOrEqual(w.t, i, 0, name)
	return fields[i]
}

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
	require.ErrorIs(t, group(GroupInput{}), nil)
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

// model is what the oracle knows: who says what, and who refers to whom.
type model struct {
	says          map[string]map[string]int // by id of whoever: field → value
	group, tmpl   string                    // of the node
	templateOf    map[string]string         // by peer
	groups, nodes []string
	peers         []string
	peerTemplates []string
}

// keepaliveOf is the slow way: every place is asked in words.
func (m model) keepaliveOf(nodeID, peerID string) int {
	for _, who := range []string{peerID, m.templateOf[peerID], nodeID, m.tmpl, m.group} {
		if v, ok := m.says[who]["keepalive"]; ok && who != "" {
			return v
		}
	}
	return DefaultKeepalive
}

// Whatever is changed in whichever order: what holds, and what is compared with the node, is what a slow
// search finds.
func TestPrecedenceAgainstAnOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, _, _ := newService(t, nil)
		ctx := t.Context()
		n, _, err := s.CreateNode(ctx, NodeInput{Name: new("n"), AgentURL: new("http://127.0.0.1:1"), Secret: new(testSecret), Enabled: new(false)})
		require.NoError(rt, err)
		m := model{says: make(map[string]map[string]int), templateOf: make(map[string]string)}
		for i := range 2 {
			g, err := s.CreateGroup(ctx, GroupInput{Name: new(fmt.Sprint("g", i))})
			require.NoError(rt, err)
			nt, err := s.CreateTemplate(ctx, TemplateInput{Name: new(fmt.Sprint("n", i)), Kind: new(KindNode)})
			require.NoError(rt, err)
			pt, err := s.CreateTemplate(ctx, TemplateInput{Name: new(fmt.Sprint("p", i)), Kind: new(KindPeer)})
			require.NoError(rt, err)
			p, err := s.CreatePeer(ctx, n.ID, PeerInput{AllowedIPs: new([]string{fmt.Sprintf("10.0.0.%d/32", i+2)}), AllowOffline: true})
			require.NoError(rt, err)
			m.groups, m.nodes, m.peerTemplates, m.peers = append(m.groups, g.ID), append(m.nodes, nt.ID), append(m.peerTemplates, pt.ID), append(m.peers, p.ID)
		}
		pick := func(from []string) string { return rapid.SampledFrom(from).Draw(rt, "which") }
		orNone := func(from []string) Optional[string] {
			if id := pick(append([]string{""}, from...)); id != "" {
				return set(id)
			}
			return cleared[string]()
		}
		value := func(who string) Optional[int] {
			v := rapid.IntRange(-1, 5).Draw(rt, "keepalive")
			if v < 0 {
				delete(m.says, who)
				return cleared[int]()
			}
			m.says[who] = map[string]int{"keepalive": v}
			return set(v)
		}
		actions := map[string]func(*rapid.T){
			"group": func(*rapid.T) {
				id := pick(m.groups)
				_, err := s.UpdateGroup(ctx, id, GroupInput{Overrides: ValuesInput{Keepalive: value(id)}})
				require.NoError(rt, err)
			},
			"template": func(*rapid.T) {
				id := pick(slices.Concat(m.nodes, m.peerTemplates))
				_, err := s.UpdateTemplate(ctx, id, TemplateInput{Values: ValuesInput{Keepalive: value(id)}})
				require.NoError(rt, err)
			},
			"node": func(*rapid.T) {
				_, err := s.UpdateNode(ctx, n.ID, NodeInput{Overrides: OverridesInput{Keepalive: value(n.ID)}})
				require.NoError(rt, err)
			},
			"peer": func(*rapid.T) {
				id := pick(m.peers)
				_, err := s.UpdatePeer(ctx, n.ID, id, PeerInput{Keepalive: value(id), AllowOffline: true})
				require.NoError(rt, err)
			},
			"place node": func(*rapid.T) {
				g, nt := orNone(m.groups), orNone(m.nodes)
				_, err := s.UpdateNode(ctx, n.ID, NodeInput{GroupID: g, TemplateID: nt})
				require.NoError(rt, err)
				m.group, m.tmpl = first("", g.Value), first("", nt.Value)
			},
			"place peer": func(*rapid.T) {
				id, pt := pick(m.peers), orNone(m.peerTemplates)
				_, err := s.UpdatePeer(ctx, n.ID, id, PeerInput{TemplateID: pt, AllowOffline: true})
				require.NoError(rt, err)
				m.templateOf[id] = first("", pt.Value)
			},
			"": func(*rapid.T) {
				st, err := s.state(ctx, n.ID)
				require.NoError(rt, err)
				for _, id := range m.peers {
					want := m.keepaliveOf(n.ID, id)
					v, err := s.Peer(ctx, n.ID, id)
					require.NoError(rt, err)
					require.Equal(rt, want, v.Effective.Keepalive)
					p, err := st.peer(id)
					require.NoError(rt, err)
					require.Equal(rt, want, effective(st.node, *p).Keepalive)
					fields, err := s.EffectiveSettings(ctx, n.ID, id)
					require.NoError(rt, err)
					require.Equal(rt, want, fields[2].Value)
				}
			},
		}
		rt.Repeat(actions)
	})
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
