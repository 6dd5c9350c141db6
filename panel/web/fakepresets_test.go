package web

import (
	"context"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel"
)

// The fake has one group g1 and one template t1.

var (
	fakeGroup = panel.GroupView{
		Group:     panel.Group{ID: "g1", Name: "Europe", Description: "behind the old firewall", Overrides: panel.Values{MTU: new(1380)}, CreatedAt: epoch, UpdatedAt: epoch},
		NodeCount: 2,
	}
	fakeTemplate = panel.TemplateView{
		Template: panel.Template{
			ID: "t1", Name: "Router", Kind: panel.KindNode, Values: panel.Values{DNS: new("9.9.9.9")},
			Hooks: &agent.Hooks{PostUp: []string{"true"}}, CreatedAt: epoch, UpdatedAt: epoch,
		},
		NodeCount: 1,
	}
	fakePreview = panel.Preview{
		Drift: []panel.PreviewNode{{
			ID: "n1", Name: "Node 1", Peers: []panel.PreviewPeer{{ID: "p1", Name: "Alice's phone", Fields: []string{"persistent_keepalive"}}}, Interface: []string{"hooks"},
		}},
		Stale: []panel.PreviewFile{{NodeID: "n1", NodeName: "Node 1", PeerID: "p1", Name: "Alice's phone"}},
	}
	groupsByID    = map[string]panel.GroupView{"g1": fakeGroup}
	templatesByID = map[string]panel.TemplateView{"t1": fakeTemplate}
)

// one enters the fake and finds what is asked for.
func one[T any](f *fake, changes bool, in map[string]T, kind, id string) (T, error) {
	if err := f.enter(changes); err != nil {
		var none T
		return none, err
	}
	return found(in, kind, id)
}

func (f *fake) Groups(_ context.Context, p panel.Page) ([]panel.GroupView, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	return pageThrough([]panel.GroupView{fakeGroup}, func(g panel.GroupView) string { return g.ID }, p)
}

func (f *fake) Group(_ context.Context, id string) (panel.GroupView, error) {
	return one(f, false, groupsByID, "group", id)
}

func (f *fake) CreateGroup(_ context.Context, in panel.GroupInput) (panel.GroupView, error) {
	f.groupInput = in
	return fakeGroup, f.enter(true)
}

func (f *fake) UpdateGroup(_ context.Context, id string, in panel.GroupInput) (panel.GroupView, error) {
	f.groupInput = in
	return one(f, true, groupsByID, "group", id)
}

func (f *fake) DeleteGroup(_ context.Context, id string) error {
	_, err := one(f, true, groupsByID, "group", id)
	return err
}

func (f *fake) PreviewGroup(_ context.Context, id string, in panel.GroupInput) (panel.Preview, error) {
	f.groupInput = in
	_, err := one(f, false, groupsByID, "group", id)
	return fakePreview, err
}

func (f *fake) Templates(_ context.Context, p panel.Page) ([]panel.TemplateView, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	return pageThrough([]panel.TemplateView{fakeTemplate}, func(t panel.TemplateView) string { return t.ID }, p)
}

func (f *fake) Template(_ context.Context, id string) (panel.TemplateView, error) {
	return one(f, false, templatesByID, "template", id)
}

func (f *fake) CreateTemplate(_ context.Context, in panel.TemplateInput) (panel.TemplateView, error) {
	f.templateInput = in
	return fakeTemplate, f.enter(true)
}

func (f *fake) UpdateTemplate(_ context.Context, id string, in panel.TemplateInput) (panel.TemplateView, error) {
	f.templateInput = in
	return one(f, true, templatesByID, "template", id)
}

func (f *fake) DeleteTemplate(_ context.Context, id string) error {
	_, err := one(f, true, templatesByID, "template", id)
	return err
}

func (f *fake) PreviewTemplate(_ context.Context, id string, in panel.TemplateInput) (panel.Preview, error) {
	f.templateInput = in
	_, err := one(f, false, templatesByID, "template", id)
	return fakePreview, err
}

func (f *fake) PreviewNode(_ context.Context, id string, in panel.NodeInput) (panel.Preview, error) {
	f.nodeInput = in
	_, err := one(f, false, f.nodes, "node", id)
	return fakePreview, err
}

func (f *fake) EffectiveSettings(_ context.Context, nodeID, peerID string) ([]panel.EffectiveField, error) {
	f.effectiveOf = peerID
	_, err := one(f, false, f.nodes, "node", nodeID)
	return []panel.EffectiveField{
		{
			Field: "mtu", Origin: panel.Origin{Value: 1380, Source: panel.Source{Kind: panel.SourceGroup, ID: "g1", Name: "Europe"}},
			Overridden: []panel.Origin{{Value: 1420, Source: panel.Source{Kind: panel.SourceDefault}}},
		},
		{Field: "hooks", Origin: panel.Origin{Value: *fakeTemplate.Hooks, Source: panel.Source{Kind: panel.SourceTemplate, ID: "t1", Name: "Router"}}},
		{Field: "listen_port", Origin: panel.Origin{Source: panel.Source{Kind: panel.SourceDefault}}},
	}, err
}

func (f *fake) ClientConfigFetched(_ context.Context, file panel.ClientFile) {
	f.fetched = append(f.fetched, file)
}
