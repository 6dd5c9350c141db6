package web

import (
	"context"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
)

func documentRule() panel.Rule {
	return panel.Rule{
		Rule:   drift.Rule{ID: "r1", Action: drift.Ignore, PublicKey: &publicKey, Until: epoch.AddDate(0, 1, 0), Reason: "the printer of the landlord"},
		NodeID: "n1", CreatedAt: epoch, UpdatedAt: epoch,
	}
}

func (f *fake) Rules(_ context.Context, p panel.Page) ([]panel.Rule, string, error) {
	all, next, err := pageThrough([]panel.Rule{documentRule()}, func(r panel.Rule) string { return r.ID }, p)
	if err != nil {
		return nil, "", err
	}
	return all, next, f.enter(false)
}

func (f *fake) Rule(_ context.Context, id string) (panel.Rule, error) {
	r, err := found(map[string]panel.Rule{"r1": documentRule()}, "rule", id)
	if err != nil {
		return r, err
	}
	return r, f.enter(false)
}

func (f *fake) CreateRule(_ context.Context, in panel.RuleInput) (panel.Rule, error) {
	f.ruleInput = in
	return documentRule(), f.enter(true)
}

func (f *fake) UpdateRule(ctx context.Context, id string, in panel.RuleInput) (panel.Rule, error) {
	f.ruleInput = in
	if r, err := f.Rule(ctx, id); err != nil {
		return r, err
	}
	return documentRule(), f.enter(true)
}

func (f *fake) DeleteRule(ctx context.Context, id string) error {
	if _, err := f.Rule(ctx, id); err != nil {
		return err
	}
	return f.enter(true)
}
