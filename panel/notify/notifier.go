package notify

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"iter"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// Log is what is told of: *event.Log.
type Log interface {
	// Follow yields what comes after an event, in order, until ctx ends.
	Follow(ctx context.Context, f event.Filter, after string) iter.Seq2[event.Event, error]
	// Last is the id of the newest event, "" where there is none.
	Last(ctx context.Context) (string, error)
	Append(ctx context.Context, events ...event.Event) error
}

var _ Log = (*event.Log)(nil)

// Options of a Notifier. The zero value of each optional field is its default.
type Options struct {
	Store store.Store // required
	Log   Log         // required
	// Agents returns the hosts that agents answer on, names and addresses; nil: there are none.
	Agents func(ctx context.Context) ([]string, error)
	Allow  Allow

	Now          func() time.Time
	Rand         io.Reader      // of ids and secrets
	Jitter       func() float64 // in [0, 1)
	Resolver     *net.Resolver
	Roots        *x509.CertPool               // whom receivers' certificates must come from; default: the system's
	OwnAddresses func() ([]netip.Addr, error) // of this host
	Hostname     string                       // as mail servers are greeted
	Logger       *slog.Logger
}

// Notifier holds the use cases of notifications. See New.
type Notifier struct {
	o         Options
	transport http.RoundTripper
	send      func(ctx context.Context, c Channel, d due) outcome // deliver, but in tests
	agents    agentBook

	mu      sync.Mutex               // protects the next three
	changed map[string]chan struct{} // by channel: closed when its runner has begun anew
	runs    bool
	last    string        // the newest id that was made here
	news    chan struct{} // holds one token when something changed
}

// New makes a Notifier; it starts nothing. Run tells.
func New(o Options) (*Notifier, error) {
	if o.Store == nil || o.Log == nil {
		return nil, errors.New("notify: a store and a log of events must be given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Jitter == nil {
		o.Jitter = mathrand.Float64
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.OwnAddresses == nil {
		o.OwnAddresses = ownAddresses
	}
	if o.Hostname == "" {
		o.Hostname = hostname()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{o: o, changed: map[string]chan struct{}{}, news: make(chan struct{}, 1), agents: newAgentBook()}
	n.transport = n.newTransport()
	n.send = n.deliver
	return n, nil
}

// hostname is this host's, where it is one that may stand in EHLO.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || !isDomain(name) || strings.Contains(name, "_") {
		return "localhost"
	}
	return name
}

// now is the time as records keep it.
func (n *Notifier) now() time.Time { return n.o.Now().UTC().Truncate(time.Millisecond) }

// newID makes an id greater than all that were made before: deliveries go out in the order of their ids.
func (n *Notifier) newID() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	id, err := store.NewID(n.o.Now(), n.o.Rand)
	if err == nil && id <= n.last {
		id, err = store.IDAfter(n.last)
	}
	n.last = max(n.last, id)
	return id, err
}

// touch makes Run look at a channel again, and waits until it has: what happens from then on is judged by what the
// channel is now. Without a Run, or when ctx ends, it waits no more.
func (n *Notifier) touch(ctx context.Context, id string) {
	n.mu.Lock()
	done, again := n.changed[id]
	if !again {
		done = make(chan struct{})
	}
	if n.runs {
		n.changed[id] = done
	} else {
		close(done)
	}
	n.mu.Unlock()
	select {
	case n.news <- struct{}{}:
	default:
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// takeChanged empties the list of what was touched.
func (n *Notifier) takeChanged() map[string]chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.changed
	n.changed = map[string]chan struct{}{}
	return all
}

// setRuns says whether there is a Run; nobody waits for one that has ended.
func (n *Notifier) setRuns(runs bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runs = runs
	for id, done := range n.changed {
		close(done)
		delete(n.changed, id)
	}
}

// running is a channel that is being told.
type running struct {
	stop context.CancelCauseFunc
	done chan struct{}
}

// errChanged ends a channel's runner that begins anew with what the channel is by then.
var errChanged = errors.New("the channel was changed")

// Run tells all channels, each by itself, until ctx ends; it returns when all have stopped.
func (n *Notifier) Run(ctx context.Context) error {
	all := map[string]running{}
	n.setRuns(true)
	defer func() {
		n.setRuns(false)
		for _, r := range all {
			r.stop(nil) // ctx has ended before, and is the cause
			<-r.done
		}
	}()
	channels, err := n.allChannels(ctx)
	if err = errors.Join(err, n.payAll(ctx)); err != nil {
		return n.unlessEnded(ctx, err)
	}
	for _, c := range channels {
		all[c.ID] = n.start(ctx, c.ID)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.news:
		}
		for id, done := range n.takeChanged() {
			n.restart(ctx, all, id)
			close(done)
		}
	}
}

// restart begins a channel anew with what it is by now; one that is deleted is forgotten.
func (n *Notifier) restart(ctx context.Context, all map[string]running, id string) {
	if r, ok := all[id]; ok {
		r.stop(errChanged)
		<-r.done
		delete(all, id)
	}
	if _, err := n.Channel(ctx, id); !errors.Is(err, ErrNotFound) {
		all[id] = n.start(ctx, id)
	}
}

func (n *Notifier) unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// restartAfter is how long a channel rests that could not be read or written.
const restartAfter = 30 * time.Second

// start runs a channel until it is stopped, disabled or deleted.
func (n *Notifier) start(ctx context.Context, id string) running {
	ctx, stop := context.WithCancelCause(ctx)
	r := running{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			err := n.runChannel(ctx, id)
			if err == nil || ctx.Err() != nil {
				return
			}
			n.o.Logger.LogAttrs(ctx, slog.LevelError, "a notification channel could not go on",
				slog.String("channel", id), slog.String("error", err.Error()))
			if !sleep(ctx, restartAfter) {
				return
			}
		}
	}()
	return r
}

// sleep reports whether the time went by before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
