package web

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
)

// channelData is a notification channel without what is secret in it: of a URL only the host is shown, to
// administrators too.
type channelData struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"`
	Kind           string    `json:"kind" doc:"webhook, slack or email"`
	Enabled        bool      `json:"enabled"`
	DisabledReason string    `json:"disabled_reason" doc:"why the panel itself disabled it"`
	URL            *string   `json:"url" doc:"scheme and host alone: the rest may be a secret; null for email"`
	HasSecret      bool      `json:"has_secret" doc:"webhook: what signs is never shown again"`
	SMTP           *smtpData `json:"smtp" doc:"null but for email"`
	Rules          rulesData `json:"rules"`
	Debounce       string    `json:"debounce" doc:"how long events are collected before they are told together, as 30s or 5m"`
	CreatedAt      string    `json:"created_at" format:"date-time"`
	UpdatedAt      string    `json:"updated_at" format:"date-time"`
}

// savedChannelData is the answer of a creation or a change, the only ones that may show a secret.
type savedChannelData struct {
	channelData
	Secret string `json:"secret,omitempty" doc:"of a webhook, where it was made here: shown this once"`
}

type smtpData struct {
	Host        string   `json:"host"`
	Port        int      `json:"port"`
	TLS         string   `json:"tls" doc:"starttls, tls or none"`
	Username    string   `json:"username"`
	HasPassword bool     `json:"has_password"`
	From        string   `json:"from"`
	To          []string `json:"to"`
}

type rulesData struct {
	Nodes       []string `json:"nodes" doc:"ids; an empty list is all"`
	Groups      []string `json:"groups" doc:"a node or a group that is named is enough"`
	MinSeverity string   `json:"min_severity" doc:"info, warning or critical"`
	Kinds       []string `json:"kinds" doc:"of events; an empty list is all"`
}

// channelBody creates or changes a channel. A change keeps what is null or left out.
type channelBody struct {
	Name     *string          `json:"name"`
	Kind     *string          `json:"kind" doc:"webhook, slack or email; it does not change"`
	Enabled  *bool            `json:"enabled"`
	URL      optional[string] `json:"url" doc:"of a webhook or Slack; null keeps it"`
	Secret   optional[string] `json:"secret" doc:"of a webhook: whsec_ and base64 of 24 to 64 bytes; an empty text has one made; null keeps it"`
	SMTP     *smtpBody        `json:"smtp" doc:"of email"`
	Rules    *rulesBody       `json:"rules"`
	Debounce *duration        `json:"debounce" doc:"0s to 15m; 30s where a creation leaves it out"`
}

type smtpBody struct {
	Host     *string          `json:"host"`
	Port     *int             `json:"port" doc:"by tls where it is left out: 587, 465 or 25"`
	TLS      *string          `json:"tls" doc:"starttls, tls or none"`
	Username *string          `json:"username"`
	Password optional[string] `json:"password" doc:"an empty text clears it; null keeps it"`
	From     *string          `json:"from"`
	To       *[]string        `json:"to"`
}

type rulesBody struct {
	Nodes       *[]string `json:"nodes"`
	Groups      *[]string `json:"groups"`
	MinSeverity *string   `json:"min_severity"`
	Kinds       *[]string `json:"kinds"`
}

// deliveryData is what a receiver was sent and what came of it.
type deliveryData struct {
	ID          string   `json:"id" doc:"the same at each attempt: webhook-id, and the Message-ID of a mail"`
	Status      string   `json:"status" doc:"pending, delivered, failed or dropped"`
	Test        bool     `json:"test"`
	EventIDs    []string `json:"event_ids" doc:"the newest 100"`
	Events      int      `json:"events" doc:"how many it tells of"`
	Attempts    int      `json:"attempts"`
	Code        *int     `json:"code" doc:"the last HTTP status or SMTP reply; null: there was no answer"`
	Reply       string   `json:"reply" doc:"of a mail server, or Slack's word for what is wrong; clipped"`
	Error       string   `json:"error" doc:"why the last attempt failed"`
	NextAttempt *string  `json:"next_attempt" format:"date-time"`
	At          string   `json:"at" format:"date-time"`
	UpdatedAt   string   `json:"updated_at" format:"date-time"`
}

func fromChannel(c notify.Channel) channelData {
	d := channelData{
		ID: c.ID, Name: c.Name, Kind: string(c.Kind), Enabled: c.Enabled, DisabledReason: c.DisabledReason, HasSecret: c.Secret != "",
		Rules: rulesData{
			Nodes: notNil(c.Rules.Nodes), Groups: notNil(c.Rules.Groups), MinSeverity: string(c.Rules.MinSeverity),
			Kinds: each(c.Rules.Kinds, func(k event.Kind) string { return string(k) }),
		},
		Debounce: durationText(c.Debounce), CreatedAt: stamp(c.CreatedAt), UpdatedAt: stamp(c.UpdatedAt),
	}
	if c.Kind == notify.Email {
		d.SMTP = &smtpData{
			Host: c.SMTP.Host, Port: c.SMTP.Port, TLS: c.SMTP.TLS, Username: c.SMTP.Username, HasPassword: c.SMTP.Password != "",
			From: c.SMTP.From, To: notNil(c.SMTP.To),
		}
		return d
	}
	d.URL = new(c.ShownURL())
	return d
}

func fromDelivery(v notify.Delivery) deliveryData {
	d := deliveryData{
		ID: v.ID, Status: string(v.Status), Test: v.Test, EventIDs: notNil(v.EventIDs), Events: v.Events, Attempts: v.Attempts,
		Reply: v.Reply, Error: v.Error, NextAttempt: stampOrNull(v.NextAttempt), At: stamp(v.At), UpdatedAt: stamp(v.UpdatedAt),
	}
	if v.Code != 0 {
		d.Code = new(v.Code)
	}
	return d
}

func toChannelInput(b channelBody) notify.Input {
	in := notify.Input{
		Name: b.Name, Kind: as[notify.Kind](b.Kind), Enabled: b.Enabled,
		URL: as[notify.Secret](b.URL.Value), Secret: as[notify.Secret](b.Secret.Value),
	}
	if s := b.SMTP; s != nil {
		in.SMTP = &notify.SMTPInput{
			Host: s.Host, Port: s.Port, TLS: s.TLS, Username: s.Username, Password: as[notify.Secret](s.Password.Value), From: s.From, To: s.To,
		}
	}
	if r := b.Rules; r != nil {
		in.Rules = &notify.RulesInput{Nodes: r.Nodes, Groups: r.Groups, MinSeverity: as[event.Severity](r.MinSeverity)}
		if r.Kinds != nil {
			in.Rules.Kinds = new(each(*r.Kinds, func(k string) event.Kind { return event.Kind(k) }))
		}
	}
	if b.Debounce != nil {
		in.Debounce = new(time.Duration(*b.Debounce))
	}
	return in
}

// as is the same text as another type; nil stays nil.
func as[T ~string](s *string) *T {
	if s == nil {
		return nil
	}
	return new(T(*s))
}

func (s *Server) listChannels(c *gin.Context, _ none) (answer[[]channelData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]channelData]{}, err
	}
	list, next, err := s.panel.Channels(c.Request.Context(), page)
	return answer[[]channelData]{message: "Notification channels listed", data: each(list, fromChannel), next: next}, err
}

func (s *Server) getChannel(c *gin.Context, _ none) (answer[channelData], error) {
	v, err := s.panel.Channel(c.Request.Context(), c.Param("id"))
	return answer[channelData]{message: "Notification channel found", data: fromChannel(v)}, err
}

func (s *Server) createChannel(c *gin.Context, b channelBody) (answer[savedChannelData], error) {
	v, secret, err := s.panel.CreateChannel(c.Request.Context(), toChannelInput(b))
	return answer[savedChannelData]{message: "Notification channel created", data: savedChannelData{fromChannel(v), string(secret)}}, err
}

func (s *Server) updateChannel(c *gin.Context, b channelBody) (answer[savedChannelData], error) {
	v, secret, err := s.panel.UpdateChannel(c.Request.Context(), c.Param("id"), toChannelInput(b))
	return answer[savedChannelData]{message: "Notification channel updated", data: savedChannelData{fromChannel(v), string(secret)}}, err
}

func (s *Server) deleteChannel(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.DeleteChannel(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Notification channel deleted"}, err
}

func (s *Server) testChannel(c *gin.Context, _ none) (answer[deliveryData], error) {
	v, err := s.panel.TestChannel(c.Request.Context(), c.Param("id"))
	message := "The receiver took the test"
	if v.Status != notify.Delivered {
		message = "The receiver did not take the test"
	}
	return answer[deliveryData]{message: message, data: fromDelivery(v)}, err
}

func (s *Server) listDeliveries(c *gin.Context, _ none) (answer[[]deliveryData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]deliveryData]{}, err
	}
	list, next, err := s.panel.Deliveries(c.Request.Context(), c.Param("id"), page)
	return answer[[]deliveryData]{message: "Deliveries, the newest first", data: each(list, fromDelivery), next: next}, err
}
