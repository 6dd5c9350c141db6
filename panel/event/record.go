package event

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// The newest event comes first in both tables: their ids are turned, see turn.
var (
	eventTable = store.NewTable[record]("event")
	ofNode     = store.NewTable[struct{}]("event-of") // in a node
)

// record is an Event at rest.
type record struct {
	At        time.Time      `json:"at"`
	Kind      Kind           `json:"kind"`
	Severity  Severity       `json:"severity"`
	NodeID    string         `json:"node_id,omitempty"`
	NodeName  string         `json:"node_name,omitempty"`
	GroupID   string         `json:"group_id,omitempty"`
	ActorKind string         `json:"actor_kind"`
	ActorID   string         `json:"actor_id,omitempty"`
	ActorName string         `json:"actor_name,omitempty"`
	Subject   string         `json:"subject,omitempty"`
	Message   string         `json:"message"`
	From      string         `json:"from,omitempty"`
	To        string         `json:"to,omitempty"`
	PlanID    string         `json:"plan_id,omitempty"`
	Revision  uint64         `json:"revision,omitempty"`
	Changes   []changeRecord `json:"changes,omitempty"`
}

type changeRecord struct {
	Op      string         `json:"op"`
	Peer    string         `json:"peer,omitempty"`
	Name    string         `json:"name,omitempty"`
	Before  map[string]any `json:"before,omitempty"`
	After   map[string]any `json:"after,omitempty"`
	Outcome string         `json:"outcome"`
	Error   string         `json:"error,omitempty"`
}

func recordOf(e Event) record {
	r := record{
		At: e.At, Kind: e.Kind, Severity: e.Severity, NodeID: e.NodeID, NodeName: e.NodeName, GroupID: e.GroupID,
		ActorKind: e.Actor.Kind, ActorID: e.Actor.ID, ActorName: e.Actor.Name, Subject: e.Subject, Message: e.Message,
		From: e.From, To: e.To, PlanID: e.PlanID, Revision: e.Revision,
	}
	for _, c := range e.Changes {
		r.Changes = append(r.Changes, changeRecord(c))
	}
	return r
}

func (r record) event(id string) Event {
	e := Event{
		ID: id, At: r.At, Kind: r.Kind, Severity: r.Severity, NodeID: r.NodeID, NodeName: r.NodeName, GroupID: r.GroupID,
		Actor: Actor{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName}, Subject: r.Subject, Message: r.Message,
		From: r.From, To: r.To, PlanID: r.PlanID, Revision: r.Revision,
	}
	for _, c := range r.Changes {
		e.Changes = append(e.Changes, Change(c))
	}
	return e
}

// turn maps ids so that the newest sorts first, and back: each hex digit becomes its complement.
func turn(id string) string {
	const digits = "0123456789abcdef"
	return strings.Map(func(r rune) rune {
		if i := strings.IndexRune(digits, r); i >= 0 {
			return rune(digits[15-i])
		}
		return r
	}, id)
}

// IsID reports whether text may be the id of an event.
func IsID(text string) bool {
	_, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	return err == nil && len(text) == 36
}
