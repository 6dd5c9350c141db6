package event

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// Options of a Log. The zero value of each optional field is its default.
type Options struct {
	Store store.Store // required
	Now   func() time.Time
	Rand  io.Reader
	Keep  time.Duration // how old an event gets; default: DefaultKeep
	Max   int           // how many are kept; default: DefaultMax
}

// Log keeps events in the store, in one order. See New.
type Log struct {
	o    Options
	busy chan struct{} // capacity 1: full while somebody writes

	mu      sync.Mutex // protects the next two; never held over I/O
	pending *batch
	news    chan struct{} // closed, and made anew, when more events are kept

	last string // the newest id; the writer's alone. "": not read yet
}

// batch is what one transaction writes: the events of all who came while the one before was written.
type batch struct {
	parts []*part
	done  chan struct{} // closed when all parts are written, or given up
}

// part is the events of one caller.
type part struct {
	events []Event
	err    error
}

// New makes a Log over a store, which the caller closes.
func New(o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Max == 0 {
		o.Max = DefaultMax
	}
	return &Log{o: o, busy: make(chan struct{}, 1), news: make(chan struct{})}
}

// Append keeps the events, durably and in their order, before it returns. It sets their ids, and At where
// it is zero; one with many changes becomes several.
func (l *Log) Append(ctx context.Context, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	p := &part{events: split(events)}
	b := l.join(p)
	select {
	case <-b.done:
		return p.err
	case l.busy <- struct{}{}:
	}
	defer func() { <-l.busy }()
	select {
	case <-b.done:
		return p.err
	default:
	}
	l.mu.Lock()
	l.pending = nil
	l.mu.Unlock()
	l.writeBatch(context.WithoutCancel(ctx), b)
	return p.err
}

// join adds the events to what is written next.
func (l *Log) join(p *part) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = &batch{done: make(chan struct{})}
	}
	l.pending.parts = append(l.pending.parts, p)
	return l.pending
}

// maxChanges is how many changes one record holds: with them it stays far below store.MaxValue.
const maxChanges = 200

// split makes several events of one with many changes.
func split(events []Event) []Event {
	out := make([]Event, 0, len(events))
	for _, e := range events {
		all, parts := e.Changes, (len(e.Changes)+maxChanges-1)/maxChanges
		for i := range max(1, parts) {
			one := e
			if parts > 1 {
				one.Changes = all[i*maxChanges : min(len(all), (i+1)*maxChanges)]
				one.Message = fmt.Sprintf("%s (%d of %d)", e.Message, i+1, parts)
			}
			out = append(out, one)
		}
	}
	return out
}

// writeBatch writes all parts in one transaction. Where that is refused each has its own, so that an event
// that is too large is lost for its caller alone. Only who is busy calls it.
func (l *Log) writeBatch(ctx context.Context, b *batch) {
	defer close(b.done)
	var all []Event
	for _, p := range b.parts {
		all = append(all, p.events...)
	}
	err := l.write(ctx, all)
	for _, p := range b.parts {
		if p.err = err; errors.Is(err, store.ErrTooLarge) && len(b.parts) > 1 {
			p.err = l.write(ctx, p.events)
		}
		if errors.Is(p.err, store.ErrTooLarge) && withoutChanges(p.events) {
			p.err = l.write(ctx, p.events)
		}
	}
}

// withoutChanges takes the changes out of events that no record can hold: that something happened is kept all the
// same. It reports whether there were any.
func withoutChanges(events []Event) bool {
	were := false
	for i := range events {
		if n := len(events[i].Changes); n > 0 {
			events[i].Changes, were = nil, true
			events[i].Message += fmt.Sprintf(" (its %d changes are too large to keep)", n)
		}
	}
	return were
}

// write keeps events in one transaction. Only who is busy calls it.
func (l *Log) write(ctx context.Context, events []Event) error {
	var last string
	err := l.o.Store.Update(ctx, func(tx store.Tx) error {
		last = l.last
		if last == "" {
			newest, err := newest(tx)
			if err != nil {
				return err
			}
			last = newest
		}
		for _, e := range events {
			id, err := l.next(last)
			if err != nil {
				return err
			}
			if last = id; e.At.IsZero() {
				e.At = l.o.Now().UTC().Truncate(time.Millisecond)
			}
			if err := put(tx, id, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep events: %w", err)
	}
	l.last = last
	l.announce()
	return nil
}

func put(tx store.Tx, id string, e Event) error {
	if err := eventTable.Put(tx, turn(id), recordOf(e)); err != nil || e.NodeID == "" {
		return err
	}
	return ofNode.In(e.NodeID).Put(tx, turn(id), struct{}{})
}

// next makes an id greater than last.
func (l *Log) next(last string) (string, error) {
	id, err := store.NewID(l.o.Now(), l.o.Rand)
	if err != nil || id > last {
		return id, err
	}
	return store.IDAfter(last)
}

// newest returns the newest id, "" where there is none.
func newest(tx store.Tx) (string, error) {
	for id, err := range idsBefore(tx, "", "") {
		return id, err
	}
	return "", nil
}
