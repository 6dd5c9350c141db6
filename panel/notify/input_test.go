package notify

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/event"
)

func smtpInput(edit func(*SMTPInput)) *SMTPInput {
	in := &SMTPInput{Host: new("mail.example.org"), From: new("panel@example.org"), To: &[]string{"ops@example.org"}}
	if edit != nil {
		edit(in)
	}
	return in
}

func TestInputsThatAreRefused(t *testing.T) {
	hook := func(url string) Input { return Input{Kind: new(Webhook), URL: new(Secret(url))} }
	mail := func(edit func(*SMTPInput)) Input { return Input{Kind: new(Email), SMTP: smtpInput(edit)} }
	good := "https://hooks.example.org/" + urlToken
	for name, tt := range map[string]struct {
		in    Input
		field string
	}{
		"no kind":           {Input{}, "kind"},
		"no URL":            {Input{Kind: new(Slack)}, "url"},
		"file":              {hook("file:///etc/passwd" + urlToken), "url"},
		"gopher":            {hook("gopher://x.example/" + urlToken), "url"},
		"user":              {hook("https://user:" + urlToken + "@x.example"), "url"},
		"fragment":          {hook(good + "#x"), "url"},
		"hidden":            {hook("https://hooks.example.org/…"), "url"},
		"no host":           {hook("https:///" + urlToken), "url"},
		"port":              {hook("https://x.example:0/" + urlToken), "url"},
		"control":           {hook("https://x.example/\r\n" + urlToken), "url"},
		"secret":            {Input{Kind: new(Webhook), URL: new(Secret(good)), Secret: new(Secret("whsec_dG9vIHNob3J0"))}, "secret"},
		"no prefix":         {Input{Kind: new(Webhook), URL: new(Secret(good)), Secret: new(Secret("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))}, "secret"},
		"secret of slack":   {Input{Kind: new(Slack), URL: new(Secret(good)), Secret: new(Secret(hookSecret))}, "secret"},
		"URL of email":      {Input{Kind: new(Email), SMTP: smtpInput(nil), URL: new(Secret(good))}, "url"},
		"SMTP of a webhook": {Input{Kind: new(Webhook), URL: new(Secret(good)), SMTP: smtpInput(nil)}, "smtp"},
		"debounce":          {Input{Kind: new(Webhook), URL: new(Secret(good)), Debounce: new(16 * time.Minute)}, "debounce"},
		"severity":          {Input{Kind: new(Webhook), URL: new(Secret(good)), Rules: &RulesInput{MinSeverity: new(event.Severity("bad"))}}, "rules.min_severity"},
		"event kind":        {Input{Kind: new(Webhook), URL: new(Secret(good)), Rules: &RulesInput{Kinds: &[]event.Kind{"drift"}}}, "rules.kinds"},
		"mail host":         {mail(func(s *SMTPInput) { s.Host = new("a b") }), "smtp.host"},
		"mail from":         {mail(func(s *SMTPInput) { s.From = new("a@example.org\r\nBcc: evil@example.com") }), "smtp.from"},
		"mail to":           {mail(func(s *SMTPInput) { s.To = &[]string{"ops@example.org", "nobody"} }), "smtp.to[1]"},
		"mail to nobody":    {mail(func(s *SMTPInput) { s.To = &[]string{} }), "smtp.to"},
		"mail TLS":          {mail(func(s *SMTPInput) { s.TLS = new("ssl") }), "smtp.tls"},
		"login in the clear": {mail(func(s *SMTPInput) {
			s.TLS, s.Username, s.Password = new(NoTLS), new("u"), new(Secret(mailPassword))
		}), "smtp.username"},
		"password alone": {mail(func(s *SMTPInput) { s.Password = new(Secret(mailPassword)) }), "smtp.username"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			tt.in.Name = new("x")
			_, _, err := w.Create(t.Context(), tt.in)
			invalid, ok := errors.AsType[*InvalidError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, tt.field, invalid.Problems[0].Field, err)
			for _, secret := range []string{urlToken, mailPassword, hookSecret} {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}

func TestChannelsAreChanged(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	c := w.create(Input{Name: new(" pager "), Rules: &RulesInput{Groups: &[]string{"eu", "eu"}, Nodes: &[]string{"b", "a"}}})
	require.Equal(t, "pager", c.Name)
	require.Equal(t, "http://203.0.113.7/…", c.ShownURL())
	require.Equal(t, Rules{Nodes: []string{"a", "b"}, Groups: []string{"eu"}, MinSeverity: event.Info, Kinds: []event.Kind{}}, c.Rules)
	got, err := w.Channel(ctx, c.ID)
	require.NoError(t, err)
	require.Equal(t, c.Secret, got.Secret)

	_, _, err = w.Create(ctx, Input{Name: new("pager"), Kind: new(Slack), URL: new(Secret("https://x.example"))})
	require.ErrorIs(t, err, ErrConflict)
	other := w.create(Input{Name: new("other")})
	_, _, err = w.Update(ctx, other.ID, Input{Name: new("pager")})
	require.ErrorIs(t, err, ErrConflict)
	next, made, err := w.Update(ctx, c.ID, Input{Name: new("renamed"), Rules: &RulesInput{Nodes: &[]string{}}})
	require.NoError(t, err)
	require.Empty(t, made)
	require.Equal(t, c.URL, next.URL, "what is not named is kept")
	require.Equal(t, []string{"eu"}, next.Rules.Groups)
	w.create(Input{Name: new("pager")})
	_, _, err = w.Update(ctx, c.ID, Input{Kind: new(Slack)})
	require.ErrorContains(t, err, "kind: does not change")
	for _, id := range []string{"nobody", "", "a/b"} {
		_, err := w.Channel(ctx, id)
		require.ErrorIs(t, err, ErrNotFound)
		_, _, err = w.Update(ctx, id, Input{})
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorIs(t, w.Delete(ctx, id), ErrNotFound)
		_, err = w.Test(ctx, id)
		require.ErrorIs(t, err, ErrNotFound)
	}
	list, cursor, err := w.Channels(ctx, 2, "")
	require.NoError(t, err)
	require.Len(t, list, 2)
	list, cursor, err = w.Channels(ctx, 2, cursor)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Empty(t, cursor)
}

// Whoever may change a channel can't learn its password by sending it elsewhere.
func TestPasswordStaysWithItsServer(t *testing.T) {
	w := newWorld(t, nil)
	c := w.create(Input{Kind: new(Email), SMTP: smtpInput(func(s *SMTPInput) { s.Username, s.Password = new("u"), new(Secret(mailPassword)) })})
	require.Equal(t, 587, c.SMTP.Port)
	c, _, err := w.Update(t.Context(), c.ID, Input{SMTP: &SMTPInput{TLS: new(TLS), To: &[]string{"B <b@example.org>"}}})
	require.NoError(t, err)
	require.Equal(t, []any{465, Secret(mailPassword), "\"B\" <b@example.org>"}, []any{c.SMTP.Port, c.SMTP.Password, c.SMTP.To[0]})
	for _, in := range []SMTPInput{{Host: new("evil.example")}, {TLS: new(NoTLS), Username: new("")}} {
		_, _, err = w.Update(t.Context(), c.ID, Input{SMTP: &in})
		require.ErrorContains(t, err, "smtp.password: must be given again")
	}
	_, _, err = w.Update(t.Context(), c.ID, Input{SMTP: &SMTPInput{Host: new("new.example"), Password: new(Secret("another"))}})
	require.NoError(t, err)
}

func TestRules(t *testing.T) {
	warned := event.Event{Kind: event.DriftChanged, Severity: event.Warning, NodeID: "n1", GroupID: "eu"}
	for name, tt := range map[string]struct {
		rules Rules
		edit  func(*event.Event)
		want  bool
	}{
		"all":                     {Rules{}, nil, true},
		"severity":                {Rules{MinSeverity: event.Warning}, nil, true},
		"severity too low":        {Rules{MinSeverity: event.Critical}, nil, false},
		"kind":                    {Rules{Kinds: []event.Kind{event.DriftChanged}}, nil, true},
		"other kind":              {Rules{Kinds: []event.Kind{event.PlanMade}}, nil, false},
		"node":                    {Rules{Nodes: []string{"n1"}}, nil, true},
		"other node":              {Rules{Nodes: []string{"n2"}}, nil, false},
		"group":                   {Rules{Groups: []string{"eu"}}, nil, true},
		"other group":             {Rules{Groups: []string{"us"}}, nil, false},
		"group beside other node": {Rules{Nodes: []string{"n2"}, Groups: []string{"eu"}}, nil, true},
		"of no node":              {Rules{}, func(e *event.Event) { e.NodeID, e.GroupID = "", "" }, true},
		"of no node, one named":   {Rules{Nodes: []string{"n1"}, Groups: []string{""}}, func(e *event.Event) { e.NodeID, e.GroupID = "", "" }, false},
		"of no group":             {Rules{Groups: []string{""}}, func(e *event.Event) { e.GroupID = "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := warned
			if tt.edit != nil {
				tt.edit(&e)
			}
			require.Equal(t, tt.want, tt.rules.take(e))
		})
	}
}
