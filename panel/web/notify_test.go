package web

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
)

func TestShapesOfNotifications(t *testing.T) {
	h := newHarness(t)
	for _, tt := range []struct{ file, method, path, body string }{
		{"channels.json", http.MethodGet, "/api/notifications", ""},
		{"channel.json", http.MethodGet, "/api/notifications/c2", ""},
		{"channel_created.json", http.MethodPost, "/api/notifications", `{"name":"x","kind":"webhook","url":"https://x.example"}`},
		{"channel_test.json", http.MethodPost, "/api/notifications/c1/test", ""},
		{"deliveries.json", http.MethodGet, "/api/notifications/c1/deliveries", ""},
	} {
		t.Run(tt.file, func(t *testing.T) {
			r := h.do(tt.method, tt.path, adminToken, tt.body)
			require.Equal(t, http.StatusOK, r.Code, r.Body)
			golden(t, tt.file, r.Body.Bytes())
			for _, secret := range []string{urlToken, mailPassword, hookSecret} {
				require.NotContains(t, r.Body.String(), secret)
			}
		})
	}
	require.NotContains(t, h.log.String(), urlToken)
}

// What a body leaves out, sets to null and sets to a value.
func TestChannelInput(t *testing.T) {
	h := newHarness(t)
	put := func(body string) (response, notify.Input) {
		h.fake.channelInput = notify.Input{}
		r := h.do(http.MethodPut, "/api/notifications/c1", adminToken, body)
		return r, h.fake.channelInput
	}
	r, in := put(`{"url":null,"secret":null,"smtp":{"password":null}}`)
	require.Equal(t, http.StatusOK, r.Code, r.Body)
	require.Equal(t, notify.Input{SMTP: &notify.SMTPInput{}}, in)
	r, in = put(`{"url":"https://x.example/y","secret":"","smtp":{"password":"","to":["a@x.example"],"port":25},"debounce":"1m30s",
		"enabled":false,"rules":{"nodes":["n1"],"min_severity":"critical","kinds":["drift.changed"]}}`)
	require.Equal(t, http.StatusOK, r.Code, r.Body)
	require.Equal(t, notify.Input{
		URL: new(notify.Secret("https://x.example/y")), Secret: new(notify.Secret("")), Enabled: new(false), Debounce: new(90 * time.Second),
		SMTP: &notify.SMTPInput{Password: new(notify.Secret("")), To: &[]string{"a@x.example"}, Port: new(25)},
		Rules: &notify.RulesInput{
			Nodes: &[]string{"n1"}, MinSeverity: new(event.Critical), Kinds: &[]event.Kind{event.DriftChanged},
		},
	}, in)
	for body, want := range map[string]string{
		`{"debounce":"soon"}`:        "debounce: expected a time span",
		`{"debounce":30}`:            "debounce: expected a time span",
		`{"rules":{"node":["n1"]}}`:  "rules.node: unknown field",
		`{"smtp":{"host":null}}`:     "smtp.host: can't be null",
		`{"has_secret":true}`:        "has_secret: unknown field",
		`{"rules":{"nodes":"n1"}}`:   "rules.nodes: expected a list of texts",
		`{"smtp":{"password":true}}`: "smtp.password: expected a text",
	} {
		r, _ := put(body)
		require.Equal(t, http.StatusUnprocessableEntity, r.Code, body)
		require.Contains(t, r.Message, want)
	}
}
