package notify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Secrets of the tests; nothing that leaves may hold one.
const (
	urlToken     = "T0KEN-of-the-url"
	mailPassword = "w0rd-of-the-mail"
	hookSecret   = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// buffer collects what several goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// world is a Notifier with its log of events.
type world struct {
	*Notifier
	t     *testing.T
	log   *event.Log
	store store.Store
	logs  *buffer
	stop  func() // ends Run, and waits for it
}

// newWorld may reach loopback, where the tests' receivers are.
func newWorld(t *testing.T, edit func(*Options)) *world {
	t.Helper()
	db, err := store.OpenInMemory(store.NewMasterKey())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w := &world{t: t, log: event.New(event.Options{Store: db}), store: db, logs: &buffer{}, stop: func() {}}
	w.again(edit)
	return w
}

// again is another process on the same store.
func (w *world) again(edit func(*Options)) {
	w.t.Helper()
	allow, err := ParseAllow([]string{"127.0.0.1", "::1"})
	require.NoError(w.t, err)
	o := Options{
		Store: w.store, Log: w.log, Allow: allow, Hostname: "panel.example", Jitter: func() float64 { return 0.5 },
		Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if edit != nil {
		edit(&o)
	}
	w.Notifier, err = New(o)
	require.NoError(w.t, err)
}

// run lets it tell until stop is called, at the latest at the test's end.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, <-ended)
	})
	w.t.Cleanup(w.stop)
}

func (w *world) create(in Input) Channel {
	w.t.Helper()
	if in.Name == nil {
		in.Name = new("channel")
	}
	if in.Kind == nil {
		in.Kind = new(Webhook)
	}
	if in.URL == nil && *in.Kind != Email {
		in.URL = new(Secret("http://203.0.113.7/" + urlToken))
	}
	c, _, err := w.Create(w.t.Context(), in)
	require.NoError(w.t, err)
	return c
}

func (w *world) happen(events ...event.Event) {
	w.t.Helper()
	require.NoError(w.t, w.log.Append(w.t.Context(), events...))
}

func (w *world) deliveries(c Channel) []Delivery {
	w.t.Helper()
	list, _, err := w.Deliveries(w.t.Context(), c.ID, 0, "")
	require.NoError(w.t, err)
	return list
}

func (w *world) events() []event.Event {
	w.t.Helper()
	list, _, err := w.log.List(w.t.Context(), event.Filter{}, event.Page{})
	require.NoError(w.t, err)
	return list
}

// reachable is a change of a node's condition.
func reachable(node, from, to string) event.Event {
	e := event.Event{
		Kind: event.ConditionChanged, Subject: "Reachable", Severity: event.Info, NodeID: node, NodeName: node, From: from, To: to,
		Message: fmt.Sprintf("Reachable is %s", to),
	}
	if to != "True" {
		e.Severity = event.Warning
	}
	return e
}

func planned(message string) event.Event {
	return event.Event{Kind: event.PlanMade, Severity: event.Info, NodeID: "n1", NodeName: "n1", Message: message}
}

var began = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
