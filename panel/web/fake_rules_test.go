package web

import (
	"context"
	"time"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/policy"
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

func (f *fake) FleetPolicy(context.Context) (policy.Input, error) {
	return policy.Input{Mode: new(policy.Heal), Windows: &[]policy.Window{{Cron: "0 2 * * 6", Duration: 2 * time.Hour, TimeZone: "Europe/Berlin"}}}, f.enter(false)
}

func (f *fake) ChangeFleetPolicy(ctx context.Context, in panel.PolicyInput) (policy.Input, error) {
	f.policy = in
	if err := f.enter(true); err != nil {
		return policy.Input{}, err
	}
	return f.FleetPolicy(ctx)
}
