package notify

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// errStopped: the channel is disabled or gone.
var errStopped = errors.New("the channel has stopped")

// runChannel tells one channel until ctx ends or the channel is disabled or deleted.
func (n *Notifier) runChannel(ctx context.Context, id string) error {
	var c Channel
	var progress progressRecord
	err := n.o.Store.View(ctx, func(tx store.Tx) (err error) {
		if c, err = getChannel(tx, id); err != nil {
			return err
		}
		progress, err = progressTable.Get(tx, id)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && !c.Enabled:
		return nil
	case err != nil:
		return err
	}
	r := &runner{n: n, channel: c, position: progress.Cursor, events: make(chan event.Event), queued: make(chan struct{}, 1)}
	r.collector = newCollector(c.Debounce)
	r.collector.restore(progress.Held)
	loops, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{r.follow, r.collect, r.deliver} {
		loops.Go(func() error { return loop(ctx) })
	}
	if err := loops.Wait(); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// runner tells one channel. Three goroutines: one follows the log, one collects, one delivers.
type runner struct {
	n       *Notifier
	channel Channel
	events  chan event.Event
	queued  chan struct{} // holds one token when there is another delivery

	// These are collect's alone.
	collector *collector
	position  string // id of the last event that was looked at
}

// follow hands the events over one by one.
func (r *runner) follow(ctx context.Context) error {
	for e, err := range r.n.o.Log.Follow(ctx, event.Filter{}, r.position) {
		if err != nil {
			return r.n.unlessEnded(ctx, err)
		}
		select {
		case r.events <- e:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// collect gathers events and queues what is due.
func (r *runner) collect(ctx context.Context) error {
	for {
		now := r.n.o.Now()
		if m, due := r.collector.take(now); due {
			if err := r.queue(ctx, m); err != nil {
				return err
			}
		}
		wake := alarm(r.collector.next(), now)
		select {
		case e := <-r.events:
			r.look(e)
		case <-wake:
		case <-ctx.Done():
			return r.stop(ctx)
		}
	}
}

// look takes an event in that the rules choose.
func (r *runner) look(e event.Event) {
	r.position = e.ID
	if r.channel.Rules.take(e) {
		r.collector.add(e, r.n.o.Now())
	}
}

// stopTimeout bounds what is written after the end.
const stopTimeout = 5 * time.Second

// stop leaves what was collected where the next runner finds it: in the log, after the cursor. Where the channel was
// changed it is told by the rules that it was collected by.
func (r *runner) stop(ctx context.Context) error {
	changed := errors.Is(context.Cause(ctx), errChanged)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if m, some := r.collector.takeAll(r.n.o.Now()); some {
		if !changed {
			return nil
		}
		return r.queue(ctx, m)
	}
	return r.n.moveOn(ctx, r.channel.ID, r.position, r.collector.records())
}

// queue keeps a message as a delivery, and wakes who delivers. One that the store does not take would be refused for
// ever, and all that comes after it: it is dropped, and that is told.
func (r *runner) queue(ctx context.Context, m message) error {
	held := r.collector.records()
	err := r.n.enqueue(ctx, r.channel, m, r.position, held)
	if errors.Is(err, store.ErrTooLarge) {
		return r.n.drop(ctx, r.channel, m, r.position, held)
	}
	if err != nil {
		return err
	}
	select {
	case r.queued <- struct{}{}:
	default:
	}
	return nil
}

// deliver makes the attempts that are due, one after the other.
func (r *runner) deliver(ctx context.Context) error {
	for {
		d, next, err := r.n.nextDue(ctx, r.channel.ID)
		if err != nil {
			return r.n.unlessEnded(ctx, err)
		}
		if d != nil {
			o := r.n.send(ctx, r.channel, *d)
			if ctx.Err() != nil && !o.done {
				return nil // not the receiver's fault: it is due still
			}
			if err := r.n.settle(context.WithoutCancel(ctx), r.channel, d.id, o); err != nil {
				return err
			}
			continue
		}
		select {
		case <-r.queued:
		case <-alarm(next, r.n.o.Now()):
		case <-ctx.Done():
			return nil
		}
	}
}

// alarm rings at a time; at the zero time never.
func alarm(at, now time.Time) <-chan time.Time {
	if at.IsZero() {
		return nil
	}
	return time.After(at.Sub(now))
}
