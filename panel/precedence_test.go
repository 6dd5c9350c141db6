package panel

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
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

// model is the same fleet as an oracle knows it: who says what, and who refers to whom.
type model struct {
	*Service
	rt *rapid.T

	node, group, template                       string            // of the node: what it refers to
	templateOf                                  map[string]string // by peer
	says                                        map[string]int    // by id of whoever: the keepalive
	peers, groups, nodeTemplates, peerTemplates []string
}

func newModel(t testing.TB, rt *rapid.T) *model {
	m := &model{rt: rt, templateOf: make(map[string]string), says: make(map[string]int)}
	m.Service, _, _ = newService(t, nil)
	ctx := t.Context()
	n, _, err := m.CreateNode(ctx, NodeInput{Name: new("n"), AgentURL: new("http://127.0.0.1:1"), Enabled: new(false)})
	require.NoError(rt, err)
	m.node = n.ID
	for i := range 2 {
		g, err := m.CreateGroup(ctx, GroupInput{Name: new(fmt.Sprint("g", i))})
		require.NoError(rt, err)
		nt, err := m.CreateTemplate(ctx, TemplateInput{Name: new(fmt.Sprint("n", i)), Kind: new(KindNode)})
		require.NoError(rt, err)
		pt, err := m.CreateTemplate(ctx, TemplateInput{Name: new(fmt.Sprint("p", i)), Kind: new(KindPeer)})
		require.NoError(rt, err)
		p, err := m.CreatePeer(ctx, n.ID, PeerInput{AllowedIPs: new([]string{fmt.Sprintf("10.0.0.%d/32", i+2)}), AllowOffline: true})
		require.NoError(rt, err)
		m.groups, m.peers = append(m.groups, g.ID), append(m.peers, p.ID)
		m.nodeTemplates, m.peerTemplates = append(m.nodeTemplates, nt.ID), append(m.peerTemplates, pt.ID)
	}
	return m
}

// keepaliveOf is the slow way: every place is asked.
func (m *model) keepaliveOf(peerID string) int {
	for _, who := range []string{peerID, m.templateOf[peerID], m.node, m.template, m.group} {
		if v, ok := m.says[who]; ok {
			return v
		}
	}
	return DefaultKeepalive
}

func (m *model) pick(from []string) string { return rapid.SampledFrom(from).Draw(m.rt, "which") }

func (m *model) orNone(from []string) Optional[string] {
	if id := m.pick(append([]string{""}, from...)); id != "" {
		return set(id)
	}
	return cleared[string]()
}

// value draws what one says from now on.
func (m *model) value(who string) Optional[int] {
	v := rapid.IntRange(-1, 5).Draw(m.rt, "keepalive")
	if v < 0 {
		delete(m.says, who)
		return cleared[int]()
	}
	m.says[who] = v
	return set(v)
}

func (m *model) actions(ctx context.Context) map[string]func(*rapid.T) {
	action := func(do func() error) func(*rapid.T) { return func(*rapid.T) { require.NoError(m.rt, do()) } }
	return map[string]func(*rapid.T){
		"group": action(func() error {
			id := m.pick(m.groups)
			_, err := m.UpdateGroup(ctx, id, GroupInput{Overrides: ValuesInput{Keepalive: m.value(id)}})
			return err
		}),
		"template": action(func() error {
			id := m.pick(slices.Concat(m.nodeTemplates, m.peerTemplates))
			_, err := m.UpdateTemplate(ctx, id, TemplateInput{Values: ValuesInput{Keepalive: m.value(id)}})
			return err
		}),
		"node": action(func() error {
			_, err := m.UpdateNode(ctx, m.node, NodeInput{Overrides: OverridesInput{Keepalive: m.value(m.node)}})
			return err
		}),
		"peer": action(func() error {
			id := m.pick(m.peers)
			_, err := m.UpdatePeer(ctx, m.node, id, PeerInput{Keepalive: m.value(id), AllowOffline: true})
			return err
		}),
		"place node": action(func() error {
			g, nt := m.orNone(m.groups), m.orNone(m.nodeTemplates)
			m.group, m.template = first("", g.Value), first("", nt.Value)
			_, err := m.UpdateNode(ctx, m.node, NodeInput{GroupID: g, TemplateID: nt})
			return err
		}),
		"place peer": action(func() error {
			id, pt := m.pick(m.peers), m.orNone(m.peerTemplates)
			m.templateOf[id] = first("", pt.Value)
			_, err := m.UpdatePeer(ctx, m.node, id, PeerInput{TemplateID: pt, AllowOffline: true})
			return err
		}),
		"": func(*rapid.T) { m.check(ctx) },
	}
}

// check holds what is answered, what is compared with the node, and what is explained against the model.
func (m *model) check(ctx context.Context) {
	st, err := m.state(ctx, m.node)
	require.NoError(m.rt, err)
	for _, id := range m.peers {
		want := m.keepaliveOf(id)
		v, err := m.Peer(ctx, m.node, id)
		require.NoError(m.rt, err)
		require.Equal(m.rt, want, v.Effective.Keepalive)
		p, err := st.peer(id)
		require.NoError(m.rt, err)
		require.Equal(m.rt, want, effective(st.node, *p).Keepalive)
		fields, err := m.EffectiveSettings(ctx, m.node, id)
		require.NoError(m.rt, err)
		require.Equal(m.rt, want, fields[2].Value)
	}
}

// Whatever is changed in whichever order: what holds is what a slow search finds.
func TestPrecedenceAgainstAnOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) { rt.Repeat(newModel(t, rt).actions(t.Context())) })
}
