package notify

import (
	"slices"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Input creates or changes a channel; nil: not given.
type Input struct {
	Name     *string
	Kind     *Kind // of a new channel; it does not change
	Enabled  *bool
	URL      *Secret
	Secret   *Secret // "" has one made
	SMTP     *SMTPInput
	Rules    *RulesInput
	Debounce *time.Duration
}

// SMTPInput changes an SMTP; nil: not given.
type SMTPInput struct {
	Host     *string
	Port     *int
	TLS      *string
	Username *string
	Password *Secret // "" for none
	From     *string
	To       *[]string
}

// RulesInput changes Rules; nil: not given.
type RulesInput struct {
	Nodes       *[]string
	Groups      *[]string
	MinSeverity *event.Severity
	Kinds       *[]event.Kind
}

func give[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// apply changes the channel, or says what is wrong with what it would be.
func (in Input) apply(c *Channel) error {
	var p problems
	in.refuseForeign(c.Kind, &p)
	old := *c
	give(&c.Name, in.Name)
	give(&c.Enabled, in.Enabled)
	give(&c.URL, in.URL)
	give(&c.Secret, in.Secret)
	give(&c.Debounce, in.Debounce)
	if in.SMTP != nil {
		in.SMTP.apply(&c.SMTP, &p)
	}
	if in.Rules != nil {
		in.Rules.apply(&c.Rules)
	}
	if c.Enabled && !old.Enabled || in.URL != nil {
		c.DisabledReason = ""
	}
	c.validate(&p)
	return p.err()
}

// refuseForeign refuses what belongs to other kinds of channels.
func (in Input) refuseForeign(k Kind, p *problems) {
	if in.Kind != nil && *in.Kind != k {
		p.add("kind", "does not change: make a new channel")
	}
	if in.URL != nil && k == Email {
		p.add("url", "is not for email: give smtp")
	}
	if in.Secret != nil && k != Webhook {
		p.add("secret", "is for a webhook only")
	}
	if in.SMTP != nil && k != Email {
		p.add("smtp", "is for email only: give url")
	}
}

// apply keeps a password only for the server that it was given for.
func (in SMTPInput) apply(s *SMTP, p *problems) {
	old := *s
	give(&s.Host, in.Host)
	give(&s.TLS, in.TLS)
	give(&s.Port, in.Port)
	give(&s.Username, in.Username)
	give(&s.Password, in.Password)
	give(&s.From, in.From)
	give(&s.To, in.To)
	s.Host = strings.TrimSpace(s.Host)
	if s.Port == 0 || in.TLS != nil && in.Port == nil {
		s.Port = portOf(s.TLS)
	}
	if old.Password != "" && in.Password == nil && (s.Host != old.Host || s.TLS == NoTLS) {
		p.add("smtp.password", "must be given again, or cleared with an empty text: it is kept for %s only, over TLS", old.Host)
	}
}

func portOf(mode string) int {
	switch mode {
	case TLS:
		return 465
	case NoTLS:
		return 25
	default:
		return 587
	}
}

func (in RulesInput) apply(r *Rules) {
	give(&r.Nodes, in.Nodes)
	give(&r.Groups, in.Groups)
	give(&r.Kinds, in.Kinds)
	give(&r.MinSeverity, in.MinSeverity)
	r.Nodes, r.Groups, r.Kinds = sorted(r.Nodes), sorted(r.Groups), sorted(r.Kinds)
}

// sorted is a list in one spelling, never nil.
func sorted[T ~string](list []T) []T {
	out := append([]T{}, list...)
	slices.Sort(out)
	return slices.Compact(out)
}
