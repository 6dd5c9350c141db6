package panel

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/store"
)

// newNotifier tells whom the channels name of what is in the log of events.
func (s *Service) newNotifier() (*notify.Notifier, error) {
	return notify.New(notify.Options{
		Store: s.o.Store, Log: s.events, Agents: s.agentHosts, Allow: s.o.NotifyAllow, Now: s.o.Now, Rand: s.o.Rand, Logger: s.o.Logger,
	})
}

// agentHosts are where the agents answer, in the form that their URLs have.
func (s *Service) agentHosts(ctx context.Context) ([]string, error) {
	nodes, err := s.allNodes(ctx)
	hosts := make([]string, 0, len(nodes))
	for _, n := range nodes {
		if u, err := url.Parse(n.AgentURL); err == nil {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts, err
}

// Channels lists the notification channels in the order of their making.
func (s *Service) Channels(ctx context.Context, p Page) ([]notify.Channel, string, error) {
	list, next, err := s.notifier.Channels(ctx, p.Limit, p.Cursor)
	return list, next, ofNotify(err)
}

// Channel returns one notification channel.
func (s *Service) Channel(ctx context.Context, id string) (notify.Channel, error) {
	c, err := s.notifier.Channel(ctx, id)
	return c, ofNotify(err)
}

// CreateChannel adds a notification channel, which is told of what happens from now on. A webhook's secret is
// returned where it was made here.
func (s *Service) CreateChannel(ctx context.Context, in notify.Input) (notify.Channel, notify.Secret, error) {
	if err := s.checkRules(ctx, in.Rules); err != nil {
		return notify.Channel{}, "", err
	}
	c, made, err := s.notifier.Create(ctx, in)
	return c, made, ofNotify(err)
}

// UpdateChannel changes what the input names. One that is to be enabled may have been disabled because a node is gone
// that its rules name still: all of them are checked then.
func (s *Service) UpdateChannel(ctx context.Context, id string, in notify.Input) (notify.Channel, notify.Secret, error) {
	rules := in.Rules
	if in.Enabled != nil && *in.Enabled {
		c, err := s.notifier.Channel(ctx, id)
		if err != nil {
			return notify.Channel{}, "", ofNotify(err)
		}
		rules = c.Rules.With(in.Rules)
	}
	if err := s.checkRules(ctx, rules); err != nil {
		return notify.Channel{}, "", err
	}
	c, made, err := s.notifier.Update(ctx, id, in)
	return c, made, ofNotify(err)
}

// DeleteChannel ends a notification channel at once.
func (s *Service) DeleteChannel(ctx context.Context, id string) error {
	return ofNotify(s.notifier.Delete(ctx, id))
}

// TestChannel sends a test now, and tells what came of it: a receiver that fails is no error.
func (s *Service) TestChannel(ctx context.Context, id string) (notify.Delivery, error) {
	d, err := s.notifier.Test(ctx, id)
	return d, ofNotify(err)
}

// Deliveries lists what a channel was sent, the newest first.
func (s *Service) Deliveries(ctx context.Context, id string, p Page) ([]notify.Delivery, string, error) {
	list, next, err := s.notifier.Deliveries(ctx, id, p.Limit, p.Cursor)
	return list, next, ofNotify(err)
}

// checkRules wants the nodes and groups that rules name to exist: a misspelled one would choose nothing, silently.
func (s *Service) checkRules(ctx context.Context, in *notify.RulesInput) error {
	if in == nil {
		return nil
	}
	var p problems
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		p = problems{}
		node := func(id string) error { _, err := getNode(tx, id); return err }
		group := func(id string) error { _, err := getGroup(tx, id); return err }
		return errors.Join(p.known("rules.nodes", in.Nodes, node), p.known("rules.groups", in.Groups, group))
	})
	if err != nil {
		return err
	}
	return p.err()
}

// known refuses what is not found.
func (p *problems) known(field string, ids *[]string, get func(id string) error) error {
	if ids == nil {
		return nil
	}
	for i, id := range *ids {
		err := get(id)
		switch {
		case errors.Is(err, ErrNotFound):
			p.add(fmt.Sprintf("%s[%d]", field, i), "%v", err)
		case err != nil:
			return err
		}
	}
	return nil
}

// ofNotify makes the errors of that room the panel's own.
func ofNotify(err error) error {
	if invalid, ok := errors.AsType[*notify.InvalidError](err); ok {
		var p problems
		for _, one := range invalid.Problems {
			p.add(one.Field, "%s", one.Error)
		}
		return p.err()
	}
	switch {
	case errors.Is(err, notify.ErrNotFound):
		return notFoundf("%v", err)
	case errors.Is(err, notify.ErrConflict):
		return conflictf("%v", err)
	}
	return pageError(err)
}
