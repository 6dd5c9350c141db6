package notify

import (
	"net/url"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Kind is how a channel tells.
type Kind string

// The kinds of channels.
const (
	Webhook Kind = "webhook" // JSON, signed as Standard Webhooks has it
	Slack   Kind = "slack"   // the body of Slack's incoming webhooks, which others take too
	Email   Kind = "email"   // plain text over SMTP
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Webhook, Slack, Email} }

// Secret is a text that is never shown; it redacts itself.
type Secret string

// String redacts.
func (Secret) String() string { return "(secret)" }

// GoString redacts.
func (Secret) GoString() string { return "(secret)" }

// Bounds of Channel.Debounce, and what holds where nothing is said.
const (
	DefaultDebounce = 30 * time.Second
	MaxDebounce     = 15 * time.Minute
)

// Channel is one receiver and what it wants to be told.
type Channel struct {
	ID      string
	Name    string
	Kind    Kind
	Enabled bool
	// DisabledReason says why the panel itself disabled it; "" where it did not.
	DisabledReason string
	URL            Secret // of a webhook or Slack: its path and query may hold a token
	Secret         Secret // of a webhook: whsec_ and base64
	SMTP           SMTP   // of an email
	Rules          Rules
	// Debounce is how long events are collected, from the first one, before they are told together.
	Debounce  time.Duration
	CreatedAt time.Time
	UpdatedAt time.Time
}

// ShownURL is the URL without what may be a secret; "" for none.
func (c Channel) ShownURL() string {
	u, err := url.Parse(string(c.URL))
	if c.URL == "" || err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + hiddenPath
}

// hiddenPath stands for a path and a query that are not shown.
const hiddenPath = "/…"

// How an SMTP connection is secured.
const (
	StartTLS = "starttls" // it begins in the clear, and mail is sent only after STARTTLS
	TLS      = "tls"      // it is TLS from the start
	NoTLS    = "none"     // in the clear: without a password
)

// SMTP is how an email leaves.
type SMTP struct {
	Host     string
	Port     int
	TLS      string
	Username string // "": no login
	Password Secret
	From     string
	To       []string
}

// Rules choose events; an empty list chooses all.
type Rules struct {
	Nodes       []string // ids; of nodes or of groups, either is enough
	Groups      []string
	MinSeverity event.Severity // this one and those above
	Kinds       []event.Kind
}

// take reports whether the rules choose an event. An event of no node is not one of a named node's, and one of a node
// belongs to the group that the node was in then.
func (r Rules) take(e event.Event) bool {
	if e.Severity.Rank() < r.MinSeverity.Rank() || len(r.Kinds) > 0 && !slices.Contains(r.Kinds, e.Kind) {
		return false
	}
	if len(r.Nodes) == 0 && len(r.Groups) == 0 {
		return true
	}
	return e.NodeID != "" && slices.Contains(r.Nodes, e.NodeID) || e.GroupID != "" && slices.Contains(r.Groups, e.GroupID)
}
