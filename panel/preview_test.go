package panel

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// newHooked is a layered world whose host takes hooks from the panel.
func newHooked(t testing.TB) *layered {
	t.Helper()
	l := newLayered(t)
	l.host = newHost(t, func(o *server.Options) { o.Hooks = server.HooksAllow })
	_, err := l.UpdateNode(t.Context(), l.id, NodeInput{AgentURL: &l.proxy.URL})
	require.NoError(t, err)
	require.True(t, l.reconcile(everything).Verified)
	return l
}

func TestPreview(t *testing.T) {
	l := newHooked(t)
	ctx := t.Context()
	l.create("plain", func(in *PeerInput) { in.Keepalive = set(5) })
	off := l.create("off", func(in *PeerInput) { in.Enabled = new(false) })
	for _, id := range []string{l.peer.ID, off.ID} {
		l.fetch(id)
	}
	before, calls := l.revision(), l.calls.Load()

	p, err := l.PreviewGroup(ctx, l.group, GroupInput{Overrides: ValuesInput{Keepalive: set(33), MTU: set(1300)}})
	require.NoError(t, err)
	drifts := []PreviewNode{{
		ID: l.id, Name: "n1", Interface: []string{}, Peers: []PreviewPeer{{ID: l.peer.ID, Name: "laptop", Fields: []string{drift.FieldKeepalive}}},
	}}
	require.Equal(t, drifts, p.Drift, "plain has a keepalive of its own, off is not on the node")
	require.ElementsMatch(t, []PreviewFile{{l.id, "n1", l.peer.ID, "laptop"}, {l.id, "n1", off.ID, "off"}}, p.Stale, "plain's was not fetched")

	p, err = l.PreviewTemplate(ctx, l.nodeTemplate, TemplateInput{Hooks: set(agent.Hooks{PostUp: []string{"true"}})})
	require.NoError(t, err)
	require.Equal(t, Preview{Drift: []PreviewNode{{ID: l.id, Name: "n1", Peers: []PreviewPeer{}, Interface: []string{drift.FieldHooks}}}, Stale: []PreviewFile{}}, p)

	p, err = l.PreviewTemplate(ctx, l.peerTemplate, TemplateInput{Values: ValuesInput{Keepalive: set(33)}})
	require.NoError(t, err)
	require.Equal(t, drifts, p.Drift)
	require.Len(t, p.Stale, 1)

	p, err = l.PreviewNode(ctx, l.id, NodeInput{Overrides: OverridesInput{ListenPort: set(443)}, Name: new("n9")})
	require.NoError(t, err)
	require.Equal(t, []PreviewNode{{ID: l.id, Name: "n9", Peers: []PreviewPeer{}, Interface: []string{drift.FieldListenPort}}}, p.Drift)
	require.Len(t, p.Stale, 2)

	p, err = l.PreviewNode(ctx, l.id, NodeInput{Weight: new(3)})
	require.NoError(t, err)
	require.Equal(t, Preview{Drift: []PreviewNode{}, Stale: []PreviewFile{}}, p)

	require.Equal(t, before, l.revision(), "nothing is kept")
	require.Equal(t, calls, l.calls.Load(), "and nobody asked")
	g, err := l.Group(ctx, l.group)
	require.NoError(t, err)
	require.Equal(t, Values{}, g.Overrides)
}

// A preview refuses what the change would.
func TestPreviewRefuses(t *testing.T) {
	l := newLayered(t)
	ctx := t.Context()
	l.addGroup("taken")
	_, err := l.PreviewGroup(ctx, l.group, GroupInput{Name: new("taken")})
	require.ErrorIs(t, err, ErrConflict)
	_, err = l.PreviewGroup(ctx, l.group, GroupInput{Overrides: ValuesInput{MTU: set(1)}})
	require.ErrorContains(t, err, "override_mtu")
	_, err = l.PreviewTemplate(ctx, "nobody", TemplateInput{})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = l.PreviewNode(ctx, l.id, NodeInput{GroupID: set("nobody")})
	require.ErrorContains(t, err, "group_id")
}

// situation is what reports and answers say: who differs in what, and whose file is stale.
type situation struct {
	peers, files []string
	settings     []string
}

func (l *layered) situation(t require.TestingT) situation {
	var s situation
	all, _, err := l.Peers(l.t.Context(), l.id, Page{})
	require.NoError(t, err)
	for _, p := range all {
		if p.ConfigStale {
			s.files = append(s.files, p.ID)
		}
	}
	r, err := l.Drift(l.t.Context(), l.id)
	require.NoError(t, err)
	require.NotEqual(t, drift.Unknown, r.Status, r.Error)
	for _, m := range r.Mismatched {
		for _, f := range m.Mismatches {
			s.peers = append(s.peers, m.PeerID+" "+f.Field)
		}
	}
	for _, m := range r.Interface {
		s.settings = append(s.settings, m.Field)
	}
	return s
}

// without are those of now that were not before.
func without(now, before []string) []string {
	out := slices.DeleteFunc(append([]string{}, now...), func(s string) bool { return slices.Contains(before, s) })
	slices.Sort(out)
	return out
}

// drawnChange is a change of one of the three that can be previewed.
type drawnChange struct {
	preview func() (Preview, error)
	make    func() error
}

func (l *layered) drawChange(t *rapid.T) drawnChange {
	ctx := l.t.Context()
	number := func(label string, from ...int) (out Optional[int]) {
		switch v := rapid.SampledFrom(append([]int{-2, -1}, from...)).Draw(t, label); v {
		case -2:
		case -1:
			out = cleared[int]()
		default:
			out = set(v)
		}
		return out
	}
	values := ValuesInput{MTU: number("mtu", 1300, 1400), Keepalive: number("keepalive", 0, 21, 30)}
	switch rapid.IntRange(0, 3).Draw(t, "of") {
	case 0:
		in := GroupInput{Overrides: values}
		return drawnChange{
			func() (Preview, error) { return l.PreviewGroup(ctx, l.group, in) },
			func() error { _, err := l.UpdateGroup(ctx, l.group, in); return err },
		}
	case 1:
		in := TemplateInput{Values: values}
		return drawnChange{
			func() (Preview, error) { return l.PreviewTemplate(ctx, l.peerTemplate, in) },
			func() error { _, err := l.UpdateTemplate(ctx, l.peerTemplate, in); return err },
		}
	case 2:
		in := TemplateInput{Values: values}
		if hook := rapid.SampledFrom([]string{"keep", "", "true", "false"}).Draw(t, "hook"); hook != "keep" {
			in.Hooks = set(agent.Hooks{PostUp: slices.DeleteFunc([]string{hook}, func(s string) bool { return s == "" })})
		}
		return drawnChange{
			func() (Preview, error) { return l.PreviewTemplate(ctx, l.nodeTemplate, in) },
			func() error { _, err := l.UpdateTemplate(ctx, l.nodeTemplate, in); return err },
		}
	default:
		in := NodeInput{Overrides: OverridesInput{MTU: values.MTU, Keepalive: values.Keepalive, ListenPort: number("port", 51820, 51821)}}
		place := func(label, id string) Optional[string] {
			return []Optional[string]{{}, cleared[string](), set(id)}[rapid.IntRange(0, 2).Draw(t, label)]
		}
		in.GroupID, in.TemplateID = place("group", l.group), place("template", l.nodeTemplate)
		return drawnChange{
			func() (Preview, error) { return l.PreviewNode(ctx, l.id, in) },
			func() error { _, err := l.UpdateNode(ctx, l.id, in); return err },
		}
	}
}

// reset makes all as it was at first, so that a run can be repeated.
func (l *layered) reset(peers []string) {
	l.t.Helper()
	for _, id := range peers {
		l.forgetFetched(l.t.Context(), l.id, id)
	}
	l.setGroup(silence)
	l.setTemplate(l.peerTemplate, silence)
	_, err := l.UpdateTemplate(l.t.Context(), l.nodeTemplate, TemplateInput{Values: silence, Hooks: set(agent.Hooks{})})
	require.NoError(l.t, err)
	_, err = l.UpdateNode(l.t.Context(), l.id, NodeInput{
		GroupID: set(l.group), TemplateID: set(l.nodeTemplate),
		Overrides: OverridesInput{ListenPort: set(51820), MTU: cleared[int](), Keepalive: cleared[int]()},
	})
	require.NoError(l.t, err)
	require.True(l.t, l.reconcile(ReconcileOptions{Mismatched: true, Interface: true}).Verified)
}

// What a preview says of a node that is in sync is what happens then, no more and no less. A setting that was not
// wished for before may be there already, which a preview can't know.
func TestPreviewSaysWhatHappens(t *testing.T) {
	l := newHooked(t)
	peers := []string{l.peer.ID}
	for i := range 5 {
		p := l.create(fmt.Sprint("peer ", i), func(in *PeerInput) {
			if i%2 == 0 {
				in.TemplateID = set(l.peerTemplate)
			}
			if i == 3 {
				in.Keepalive = set(30)
			}
			in.Enabled = new(i != 4)
		})
		peers = append(peers, p.ID)
	}
	rapid.Check(t, func(rt *rapid.T) {
		l.reset(peers)
		for range rapid.IntRange(0, 4).Draw(rt, "changes before") {
			for _, id := range peers {
				if rapid.Bool().Draw(rt, "fetched") {
					l.fetch(id)
				}
			}
			require.NoError(rt, l.drawChange(rt).make())
		}
		_, err := l.Reconcile(t.Context(), l.id, ReconcileOptions{Mismatched: true, Interface: true})
		require.NoError(rt, err)
		before := l.situation(rt)
		require.Empty(rt, before.peers)
		require.Empty(rt, before.settings)
		wished, err := l.Interface(t.Context(), l.id)
		require.NoError(rt, err)

		change := l.drawChange(rt)
		p, err := change.preview()
		require.NoError(rt, err)
		require.Equal(rt, before, l.situation(rt), "a look changes nothing")
		require.NoError(rt, change.make())
		after := l.situation(rt)

		said := situation{}
		for _, n := range p.Drift {
			require.Equal(rt, l.id, n.ID)
			said.settings = n.Interface
			for _, peer := range n.Peers {
				for _, f := range peer.Fields {
					said.peers = append(said.peers, peer.ID+" "+f)
				}
			}
		}
		for _, f := range p.Stale {
			said.files = append(said.files, f.PeerID)
		}
		require.Equal(rt, without(after.peers, before.peers), without(said.peers, nil))
		require.Equal(rt, without(after.files, before.files), without(said.files, nil))
		known := func(list []string) []string {
			return slices.DeleteFunc(without(list, nil), func(f string) bool {
				return f == drift.FieldHooks && wished.Hooks == nil || f == drift.FieldListenPort && wished.ListenPort == nil
			})
		}
		require.Equal(rt, known(after.settings), known(said.settings))
		require.Subset(rt, said.settings, after.settings)
	})
}
