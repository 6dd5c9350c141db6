package notify

import (
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// Tables and indexes of the store. Values are sealed there, keys are not.
var (
	channelTable  = store.NewTable[channelRecord]("notify-channel")
	progressTable = store.NewTable[progressRecord]("notify-progress") // by channel
	deliveryTable = store.NewTable[deliveryRecord]("notify-delivery") // in a channel
	payloadTable  = store.NewTable[payload]("notify-payload")         // in a channel, of what is still to be sent
	owedTable     = store.NewTable[owedRecord]("notify-owed")         // by delivery, of what is to be said in the log of events
	channelNames  = store.NewUnique("notify-name")                    // hashed
)

// channelRecord is a Channel at rest.
type channelRecord struct {
	Name           string        `json:"name"`
	Kind           Kind          `json:"kind"`
	Enabled        bool          `json:"enabled"`
	DisabledReason string        `json:"disabled_reason,omitempty"`
	URL            string        `json:"url,omitempty"`
	Secret         string        `json:"secret,omitempty"`
	SMTP           smtpRecord    `json:"smtp"`
	Rules          rulesRecord   `json:"rules"`
	Debounce       time.Duration `json:"debounce"`
	CreatedAt      time.Time     `json:"created_at"`
	UpdatedAt      time.Time     `json:"updated_at"`
}

type smtpRecord struct {
	Host     string   `json:"host,omitempty"`
	Port     int      `json:"port,omitempty"`
	TLS      string   `json:"tls,omitempty"`
	Username string   `json:"username,omitempty"`
	Password string   `json:"password,omitempty"`
	From     string   `json:"from,omitempty"`
	To       []string `json:"to,omitempty"`
}

type rulesRecord struct {
	Nodes       []string       `json:"nodes,omitempty"`
	Groups      []string       `json:"groups,omitempty"`
	MinSeverity event.Severity `json:"min_severity"`
	Kinds       []event.Kind   `json:"kinds,omitempty"`
}

func recordOf(c Channel) channelRecord {
	return channelRecord{
		Name: c.Name, Kind: c.Kind, Enabled: c.Enabled, DisabledReason: c.DisabledReason, URL: string(c.URL), Secret: string(c.Secret),
		SMTP: smtpRecord{
			Host: c.SMTP.Host, Port: c.SMTP.Port, TLS: c.SMTP.TLS, Username: c.SMTP.Username, Password: string(c.SMTP.Password),
			From: c.SMTP.From, To: c.SMTP.To,
		},
		Rules: rulesRecord(c.Rules), Debounce: c.Debounce, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}
}

func (r channelRecord) channel(id string) Channel {
	return Channel{
		ID: id, Name: r.Name, Kind: r.Kind, Enabled: r.Enabled, DisabledReason: r.DisabledReason, URL: Secret(r.URL), Secret: Secret(r.Secret),
		SMTP: SMTP{
			Host: r.SMTP.Host, Port: r.SMTP.Port, TLS: r.SMTP.TLS, Username: r.SMTP.Username, Password: Secret(r.SMTP.Password),
			From: r.SMTP.From, To: r.SMTP.To,
		},
		Rules: Rules(r.Rules), Debounce: r.Debounce, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

// progressRecord is how far a channel has come in the log of events.
type progressRecord struct {
	Cursor  string       `json:"cursor"`            // id of the last event that was handed over, or not chosen
	Dropped int          `json:"dropped,omitempty"` // events that are told by no delivery; the next one says how many
	Held    []heldRecord `json:"held,omitempty"`
}

// heldRecord is what flaps.
type heldRecord struct {
	NodeID  string         `json:"node_id"`
	Kind    event.Kind     `json:"kind"`
	Subject string         `json:"subject,omitempty"`
	Level   int            `json:"level"`
	Until   time.Time      `json:"until"`
	Seen    []string       `json:"seen,omitempty"`
	Times   int            `json:"times,omitempty"`
	IDs     []string       `json:"ids,omitempty"`
	Last    *lastRecord    `json:"last,omitempty"`
	Since   time.Time      `json:"since,omitzero"`
	Worst   event.Severity `json:"worst,omitempty"`
}

// lastRecord is the last event of what flaps, without its changes.
type lastRecord struct {
	ID       string         `json:"id"`
	At       time.Time      `json:"at"`
	Severity event.Severity `json:"severity"`
	NodeName string         `json:"node_name,omitempty"`
	Message  string         `json:"message"`
	From     string         `json:"from,omitempty"`
	To       string         `json:"to,omitempty"`
	Revision uint64         `json:"revision,omitempty"`

	ActorKind string `json:"actor_kind"`
	ActorID   string `json:"actor_id,omitempty"`
	ActorName string `json:"actor_name,omitempty"`
}

// deliveryRecord is a Delivery at rest.
type deliveryRecord struct {
	Status      Status    `json:"status"`
	Test        bool      `json:"test,omitempty"`
	EventIDs    []string  `json:"event_ids,omitempty"`
	Events      int       `json:"events"`
	Failures    bool      `json:"failures,omitempty"` // it tells of nothing but other deliveries that failed
	Attempts    int       `json:"attempts"`
	Code        int       `json:"code,omitempty"`
	Reply       string    `json:"reply,omitempty"`
	Error       string    `json:"error,omitempty"`
	Reached     []string  `json:"reached,omitempty"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	At          time.Time `json:"at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

func (r deliveryRecord) delivery(id string) Delivery {
	return Delivery{
		ID: id, Status: r.Status, Test: r.Test, EventIDs: r.EventIDs, Events: r.Events, Attempts: r.Attempts, Code: r.Code,
		Reply: r.Reply, Error: r.Error, NextAttempt: r.NextAttempt, At: r.At, UpdatedAt: r.UpdatedAt,
	}
}

// owedRecord is the sentence of an event that says what somebody is not told.
type owedRecord struct {
	Message string `json:"message"`
}

// payload is what is sent, the same at each attempt.
type payload struct {
	Subject string `json:"subject,omitempty"` // of an email
	Body    string `json:"body"`
}
