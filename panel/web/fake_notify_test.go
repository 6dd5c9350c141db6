package web

import (
	"context"
	"time"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
)

// Secrets of the fake's channels.
const (
	urlToken     = "url-token-0123456789"
	mailPassword = "mail-password-0123456789"
	hookSecret   = "whsec_hook-secret-0123456789"
)

func fakeChannels() map[string]notify.Channel {
	rules := notify.Rules{Nodes: []string{"n1"}, MinSeverity: event.Warning, Kinds: []event.Kind{event.DriftChanged}}
	return map[string]notify.Channel{
		"c1": {
			ID: "c1", Name: "pager", Kind: notify.Webhook, Enabled: true, URL: "https://pager.example.org/" + urlToken + "?t=" + urlToken,
			Secret: hookSecret, Rules: rules, Debounce: 30 * time.Second, CreatedAt: epoch, UpdatedAt: epoch,
		},
		"c2": {
			ID: "c2", Name: "mail", Kind: notify.Email, DisabledReason: "a reason", Rules: notify.Rules{MinSeverity: event.Info},
			SMTP: notify.SMTP{
				Host: "mail.example.org", Port: 587, TLS: notify.StartTLS, Username: "panel", Password: mailPassword,
				From: "panel@example.org", To: []string{"ops@example.org"},
			},
			CreatedAt: epoch, UpdatedAt: epoch,
		},
	}
}

func (f *fake) Channels(_ context.Context, p panel.Page) ([]notify.Channel, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	all := []notify.Channel{f.channels["c1"], f.channels["c2"]}
	return pageThrough(all, func(c notify.Channel) string { return c.ID }, p)
}

func (f *fake) Channel(_ context.Context, id string) (notify.Channel, error) {
	if err := f.enter(false); err != nil {
		return notify.Channel{}, err
	}
	return found(f.channels, "channel", id)
}

func (f *fake) CreateChannel(_ context.Context, in notify.Input) (notify.Channel, notify.Secret, error) {
	f.channelInput = in
	return f.channels["c1"], madeSecret, f.enter(true)
}

func (f *fake) UpdateChannel(_ context.Context, id string, in notify.Input) (notify.Channel, notify.Secret, error) {
	if err := f.enter(true); err != nil {
		return notify.Channel{}, "", err
	}
	f.channelInput = in
	c, err := found(f.channels, "channel", id)
	return c, "", err
}

func (f *fake) DeleteChannel(_ context.Context, id string) error {
	if err := f.enter(true); err != nil {
		return err
	}
	_, err := found(f.channels, "channel", id)
	return err
}

func (f *fake) TestChannel(_ context.Context, id string) (notify.Delivery, error) {
	if err := f.enter(true); err != nil {
		return notify.Delivery{}, err
	}
	_, err := found(f.channels, "channel", id)
	return notify.Delivery{ID: "d2", Status: notify.Delivered, Test: true, Events: 1, Attempts: 1, Code: 204, At: epoch, UpdatedAt: epoch}, err
}

func (f *fake) Deliveries(_ context.Context, id string, _ panel.Page) ([]notify.Delivery, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	_, err := found(f.channels, "channel", id)
	return []notify.Delivery{{
		ID: "d1", Status: notify.Pending, EventIDs: []string{"e1", "e2"}, Events: 2, Attempts: 1, Error: "the receiver answered 500",
		NextAttempt: epoch.Add(time.Minute), At: epoch, UpdatedAt: epoch,
	}}, "d1", err
}
