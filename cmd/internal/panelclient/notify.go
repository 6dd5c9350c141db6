package panelclient

import "time"

// Channel is what tables show of a notification channel.
type Channel struct {
	ID             string       `json:"id"`
	Name           string       `json:"name"`
	Kind           string       `json:"kind"`
	Enabled        bool         `json:"enabled"`
	DisabledReason string       `json:"disabled_reason"`
	URL            *string      `json:"url"`
	SMTP           *ChannelSMTP `json:"smtp"`
	Rules          ChannelRules `json:"rules"`
	Secret         string       `json:"secret"` // only in the answer that made it
}

// ChannelSMTP is where a channel's mails go.
type ChannelSMTP struct {
	Host string   `json:"host"`
	To   []string `json:"to"`
}

// ChannelRules say what a channel is told of; an empty list: all.
type ChannelRules struct {
	Nodes       []string `json:"nodes"`
	Groups      []string `json:"groups"`
	MinSeverity string   `json:"min_severity"`
	Kinds       []string `json:"kinds"`
}

// Delivered is the status of a Delivery that the receiver took.
const Delivered = "delivered"

// Delivery is what a receiver was sent, and what came of it.
type Delivery struct {
	ID          string     `json:"id"`
	Status      string     `json:"status"`
	Test        bool       `json:"test"`
	Events      int        `json:"events"`
	Attempts    int        `json:"attempts"`
	Code        *int       `json:"code"`
	Reply       string     `json:"reply"`
	Error       string     `json:"error"`
	NextAttempt *time.Time `json:"next_attempt"`
	At          time.Time  `json:"at"`
}
