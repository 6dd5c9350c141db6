package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-contrib/sse"
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/event"
)

// eventData is one thing that happened.
type eventData struct {
	ID       string            `json:"id" doc:"ids grow: a greater one came later"`
	At       string            `json:"at" format:"date-time"`
	Kind     string            `json:"kind"`
	Severity string            `json:"severity" doc:"info, warning or critical"`
	NodeID   string            `json:"node_id" doc:"empty for what is of no single node"`
	NodeName string            `json:"node_name" doc:"as it was then"`
	Actor    actorData         `json:"actor"`
	Subject  string            `json:"subject" doc:"the name of a condition"`
	Message  string            `json:"message"`
	From     string            `json:"from" doc:"of a verdict or a condition"`
	To       string            `json:"to"`
	PlanID   string            `json:"plan_id"`
	Revision uint64            `json:"revision" doc:"of the node's desired state; 0: of none"`
	Changes  []eventChangeData `json:"changes"`
}

type actorData struct {
	Kind string `json:"kind" doc:"key: who holds an API key; system: the panel by itself"`
	ID   string `json:"id" doc:"of the key"`
	Name string `json:"name" doc:"of the key, or of the part of the panel"`
}

type eventChangeData struct {
	Op      string          `json:"op"`
	Peer    string          `json:"peer" doc:"public key; empty: the interface"`
	Name    string          `json:"name"`
	Before  *map[string]any `json:"before" doc:"null: it was not there"`
	After   *map[string]any `json:"after" doc:"null: it is not there"`
	Outcome string          `json:"outcome"`
	Error   string          `json:"error"`
}

func fromEvent(e event.Event) eventData {
	return eventData{
		ID: e.ID, At: stamp(e.At), Kind: string(e.Kind), Severity: string(e.Severity), NodeID: e.NodeID, NodeName: e.NodeName,
		Actor: actorData(e.Actor), Subject: e.Subject, Message: e.Message, From: e.From, To: e.To, PlanID: e.PlanID, Revision: e.Revision,
		Changes: each(e.Changes, fromChange),
	}
}

func fromChange(c event.Change) eventChangeData {
	return eventChangeData{
		Op: c.Op, Peer: c.Peer, Name: c.Name, Before: objectOrNull(c.Before), After: objectOrNull(c.After), Outcome: c.Outcome, Error: c.Error,
	}
}

// objectOrNull is null in JSON for no map, which in the description only a pointer may be.
func objectOrNull(m map[string]any) *map[string]any {
	if m == nil {
		return nil
	}
	return &m
}

var (
	historyQuery = append([]queryParam{
		{"kind", "string", "comma list of kinds: " + listed(event.Kinds())},
		{"severity", "string", "this one and those above: " + listed(event.Severities())},
		{"since", "string", "not before this time (RFC 3339)"},
	}, pageQuery...)
	eventsQuery = append([]queryParam{
		{"node", "string", "id of a node; one that is gone still has its events"},
		{"after", "string", "of a stream: id of the last event that the reader has, as the header Last-Event-ID"},
	}, historyQuery...)
)

func listed[T ~string](all []T) string {
	return strings.Join(each(all, func(v T) string { return string(v) }), ", ")
}

func filterOf(c *gin.Context) (event.Filter, error) {
	f := event.Filter{NodeID: c.Query("node"), Severity: event.Severity(c.Query("severity"))}
	for kind := range strings.FieldsFuncSeq(c.Query("kind"), func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(event.Kinds(), event.Kind(kind)) {
			return f, panel.Invalid("kind", "%q is none: expected %s", clip(kind), listed(event.Kinds()))
		}
		f.Kinds = append(f.Kinds, event.Kind(kind))
	}
	if f.Severity != "" && f.Severity.Rank() == 0 {
		return f, panel.Invalid("severity", "%q is none: expected %s", clip(string(f.Severity)), listed(event.Severities()))
	}
	if text := c.Query("since"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return f, panel.Invalid("since", "expected a time as in RFC 3339, for example 2026-01-31T12:00:00Z")
		}
		f.Since = at
	}
	return f, nil
}

func (s *Server) listEvents(c *gin.Context, _ none) (answer[[]eventData], error) {
	return answerEvents(c, s.panel.Events)
}

func (s *Server) nodeHistory(c *gin.Context, _ none) (answer[[]eventData], error) {
	return answerEvents(c, func(ctx context.Context, f event.Filter, p panel.Page) ([]event.Event, string, error) {
		return s.panel.NodeEvents(ctx, c.Param("id"), f, p)
	})
}

// eventPage is how many events a list shows that was asked for no number: unlike the others it has no end
// that its reader can know.
const eventPage = 100

func answerEvents(c *gin.Context, list func(context.Context, event.Filter, panel.Page) ([]event.Event, string, error)) (answer[[]eventData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]eventData]{}, err
	}
	if page.Limit == 0 {
		page.Limit = eventPage
	}
	f, err := filterOf(c)
	if err != nil {
		return answer[[]eventData]{}, err
	}
	events, next, err := list(c.Request.Context(), f, page)
	return answer[[]eventData]{message: "Events, the newest first", data: each(events, fromEvent), next: next}, err
}

// heartbeat is how often a stream says that it lives, so that neither a proxy nor a reader gives it up, and
// how often it is seen whether its key still opens the door.
const heartbeat = 15 * time.Second

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

var errHeartbeat = errors.New("time for a heartbeat")

// streamEvents is listEvents as server-sent events: what comes from now on, or after the last that the reader
// has. See the HTML standard, 9.2.
func (s *Server) streamEvents(c *gin.Context) error {
	f, err := filterOf(c)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(c.Request.Context())
	defer stop(nil)
	defer context.AfterFunc(s.closing, func() { stop(context.Cause(s.closing)) })()
	after := c.DefaultQuery("after", c.GetHeader("Last-Event-ID"))
	if after != "" && !event.IsID(after) {
		return panel.Invalid("after", "is the id of no event")
	}
	if after == "" && f.Since.IsZero() {
		if after, err = s.panel.LastEvent(ctx); err != nil {
			return err
		}
	}
	leave, err := s.beginStream(c)
	if err != nil {
		return err
	}
	defer leave()
	for s.stillAdmitted(c) {
		if err := stand(c, after); err != nil {
			return nil
		}
		if after, err = s.sendEvents(ctx, c, f, after); err != nil {
			return nil
		}
	}
	return nil
}

// maxStreams is how many streams are open at the same time: each costs a connection that nobody else gets.
const maxStreams = 256

// streamRetry is when who finds all taken is told to come again.
const streamRetry = 10 * time.Second

// beginStream writes the head of a stream. Its reader is not bound by what bounds a request's body. The caller calls
// the returned function when the stream has ended.
func (s *Server) beginStream(c *gin.Context) (leave func(), err error) {
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, tooMany(streamRetry)
	}
	leave = func() { <-s.streams }
	if err := http.NewResponseController(c.Writer).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		leave()
		return nil, err
	}
	c.Header("Content-Type", eventStream)
	c.Header("X-Accel-Buffering", "no")
	c.Status(http.StatusOK)
	return leave, nil
}

// sendEvents writes what comes until the next heartbeat, and returns the id of the last event that was seen.
func (s *Server) sendEvents(ctx context.Context, c *gin.Context, f event.Filter, after string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, heartbeat, errHeartbeat)
	defer cancel()
	for e, err := range s.panel.FollowEvents(ctx, after) {
		switch {
		case errors.Is(err, errHeartbeat):
			return after, nil
		case err != nil:
			return after, err
		}
		after = e.ID
		if !f.Takes(e) {
			continue
		}
		if err := send(c, sse.Event{Id: e.ID, Event: string(e.Kind), Data: fromEvent(e)}); err != nil {
			return after, err
		}
	}
	return after, nil
}

// beforeAll is less than the id of any event.
const beforeAll = "00000000-0000-0000-0000-000000000000"

// stand says where the stream stands, so that a reader that comes back misses nothing: an event without data is
// dispatched to nobody. It is the heartbeat as well.
func stand(c *gin.Context, after string) error {
	if err := untilWritten(c); err != nil {
		return err
	}
	_, err := c.Writer.WriteString("id:" + cmp.Or(after, beforeAll) + "\n\n")
	c.Writer.Flush()
	return err
}

// writeLimit is how long a reader may take for one event before it is given up.
const writeLimit = 30 * time.Second

func untilWritten(c *gin.Context) error {
	err := http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(writeLimit))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// send writes one event.
func send(c *gin.Context, e sse.Event) error {
	if err := untilWritten(c); err != nil {
		return err
	}
	if err := sse.Encode(c.Writer, e); err != nil {
		return err
	}
	c.Writer.Flush()
	return nil
}

// stillAdmitted reports whether the key that opened a stream is one still.
func (s *Server) stillAdmitted(c *gin.Context) bool {
	key, err := s.panel.Authenticate(c.Request.Context(), keyOf(c))
	return err == nil && allows(key.Role, roleViewer)
}
