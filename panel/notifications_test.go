package panel

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
)

// A peer vanishes from a real agent's device: the look that sees it is told of, with the peer and without its keys.
func TestDriftIsToldOf(t *testing.T) {
	got := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}))
	defer receiver.Close()
	w := newWorld(t)
	allow, err := notify.ParseAllow([]string{"127.0.0.1"})
	require.NoError(t, err)
	w.o.NotifyAllow = allow
	w.notifier, err = w.newNotifier()
	require.NoError(t, err)
	ada := w.create("ada", nil)
	_, err = w.Drift(t.Context(), w.id)
	require.NoError(t, err)
	c, secret, err := w.CreateChannel(t.Context(), notify.Input{
		Name: new("pager"), Kind: new(notify.Webhook), URL: new(notify.Secret(receiver.URL)), Debounce: new(notify.DefaultDebounce * 0),
		Rules: &notify.RulesInput{Nodes: &[]string{w.id}, Kinds: &[]event.Kind{event.DriftChanged}},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	before, ok := w.peer(ada.PublicKey)
	require.True(t, ok)
	w.write(engine.PeerChange{Before: &before})
	_, err = w.Drift(t.Context(), w.id)
	require.NoError(t, err)
	body := <-got
	require.Contains(t, body, `"kind":"drift.changed"`)
	require.Contains(t, body, `"name":"ada"`)
	for _, key := range []string{ada.PrivateKey.Reveal().String(), ada.PresharedKey.Reveal().String(), string(testSecret), string(secret)} {
		require.NotContains(t, body, key)
	}
	cancel()
	require.NoError(t, <-ended)
	list, _, err := w.Deliveries(t.Context(), c.ID, Page{})
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// Errors of the room are the panel's own, and what only the panel knows is checked here.
func TestChannelsOfThePanel(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	in := notify.Input{Name: new("pager"), Kind: new(notify.Slack), URL: new(notify.Secret("https://hooks.example.org/x"))}
	c, _, err := w.CreateChannel(ctx, in)
	require.NoError(t, err)
	_, _, err = w.CreateChannel(ctx, in)
	require.ErrorIs(t, err, ErrConflict)
	_, err = w.Channel(ctx, "nobody")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = w.TestChannel(ctx, "nobody")
	require.ErrorIs(t, err, ErrNotFound)
	_, _, err = w.Deliveries(ctx, "nobody", Page{})
	require.ErrorIs(t, err, ErrNotFound)

	_, _, err = w.UpdateChannel(ctx, c.ID, notify.Input{Rules: &notify.RulesInput{Nodes: &[]string{w.id, "a/b"}}})
	require.Equal(t, Invalid("rules.nodes[1]", `there is no node "a/b"`), err)
	_, _, err = w.UpdateChannel(ctx, c.ID, notify.Input{Rules: &notify.RulesInput{Groups: &[]string{"eu"}}})
	require.Equal(t, Invalid("rules.groups[0]", `there is no group "eu"`), err)
	g, err := w.CreateGroup(ctx, GroupInput{Name: new("eu")})
	require.NoError(t, err)
	_, _, err = w.UpdateChannel(ctx, c.ID, notify.Input{Rules: &notify.RulesInput{Groups: &[]string{g.ID}}})
	require.NoError(t, err)
	_, err = w.UpdateNode(ctx, w.id, NodeInput{AgentURL: new("https://agent.example.org:8080")})
	require.NoError(t, err)
	for _, host := range []string{"agent.example.org", "AGENT.example.org."} {
		u := url.URL{Scheme: "https", Host: host, Path: "/x"}
		_, _, err = w.UpdateChannel(ctx, c.ID, notify.Input{URL: new(notify.Secret(u.String()))})
		require.ErrorContains(t, err, "is where an agent answers")
	}
	list, _, err := w.Channels(ctx, Page{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, w.DeleteChannel(ctx, c.ID))
	require.ErrorIs(t, w.DeleteChannel(ctx, c.ID), ErrNotFound)
}

// A rule by group chooses by the group that the node was in when it happened, though the node is gone by now.
func TestEventsSayTheirGroup(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	g, err := w.CreateGroup(ctx, GroupInput{Name: new("eu")})
	require.NoError(t, err)
	_, err = w.UpdateNode(ctx, w.id, NodeInput{GroupID: set(g.ID)})
	require.NoError(t, err)
	c, _, err := w.CreateChannel(ctx, notify.Input{
		Name: new("pager"), Kind: new(notify.Slack), URL: new(notify.Secret("https://203.0.113.7/x")), Debounce: new(notify.DefaultDebounce * 0),
		Rules: &notify.RulesInput{Groups: &[]string{g.ID}},
	})
	require.NoError(t, err)
	require.NoError(t, w.DeleteNode(ctx, w.id)) // before anybody looks
	events, _, err := w.Events(ctx, event.Filter{}, Page{})
	require.NoError(t, err)
	require.Equal(t, []string{g.ID, g.ID}, []string{events[0].GroupID, events[1].GroupID}, "the deletion, and the change before")

	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	require.Eventually(t, func() bool {
		list, _, err := w.Deliveries(t.Context(), c.ID, Page{})
		return err == nil && len(list) == 1 && list[0].EventIDs[0] == events[0].ID
	}, 10*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

// What is deleted is in no rules: a group that is named stays, a node goes out of them, and the last one that is named
// disables, for without it the channel would be told of all.
func TestRulesNameWhatThereIs(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	g, err := w.CreateGroup(ctx, GroupInput{Name: new("eu")})
	require.NoError(t, err)
	channel := func(name string, nodes, groups []string) notify.Channel {
		c, _, err := w.CreateChannel(ctx, notify.Input{
			Name: new(name), Kind: new(notify.Slack), URL: new(notify.Secret("https://203.0.113.7/x")),
			Rules: &notify.RulesInput{Nodes: &nodes, Groups: &groups},
		})
		require.NoError(t, err)
		return c
	}
	other, _, err := w.CreateNode(ctx, NodeInput{Name: new("other"), AgentURL: new("http://192.0.2.1:8080")})
	require.NoError(t, err)
	one, two, both := channel("one", []string{w.id}, nil), channel("two", []string{w.id, other.ID}, nil), channel("both", []string{w.id}, []string{g.ID})

	err = w.DeleteGroup(ctx, g.ID)
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, `the rules of the notification channel "both" name group "eu"`)

	require.NoError(t, w.DeleteNode(ctx, w.id))
	state := func(c notify.Channel) []any {
		c, err := w.Channel(ctx, c.ID)
		require.NoError(t, err)
		return []any{c.Enabled, c.DisabledReason, c.Rules.Nodes}
	}
	require.Equal(t, []any{false, "the last node that its rules name was deleted", []string{w.id}}, state(one))
	require.Equal(t, []any{true, "", []string{other.ID}}, state(two))
	require.Equal(t, []any{true, "", []string(nil)}, state(both))
	events, _, err := w.Events(ctx, event.Filter{}, Page{})
	require.NoError(t, err)
	require.Equal(t, []event.Kind{event.NotificationFailed, event.DesiredChanged}, []event.Kind{events[0].Kind, events[1].Kind})
	require.Contains(t, events[0].Message, "the channel one is disabled")

	_, _, err = w.UpdateChannel(ctx, one.ID, notify.Input{Enabled: new(true)})
	require.ErrorContains(t, err, "there is no node")
	_, _, err = w.UpdateChannel(ctx, one.ID, notify.Input{Enabled: new(true), Rules: &notify.RulesInput{Nodes: &[]string{other.ID}}})
	require.NoError(t, err)
	require.Equal(t, []any{true, "", []string{other.ID}}, state(one))

	_, _, err = w.UpdateChannel(ctx, both.ID, notify.Input{Rules: &notify.RulesInput{Groups: &[]string{}}})
	require.NoError(t, err)
	require.NoError(t, w.DeleteGroup(ctx, g.ID))
}
