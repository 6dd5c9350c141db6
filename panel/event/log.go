package event

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// Options of a Log. The zero value of each optional field is its default.
type Options struct {
	Store store.Store // required
	Now   func() time.Time
	Rand  io.Reader
}

// Log keeps events in the store, in one order. See New.
type Log struct {
	o    Options
	busy chan struct{} // capacity 1: full while somebody writes

	mu      sync.Mutex // protects pending; never held over I/O
	pending *batch

	last string // the newest id; the writer's alone. "": not read yet
}

// batch is what one transaction writes: the events of all who came while the one before was written.
type batch struct {
	events []Event
	done   chan struct{} // closed when it is written
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
	return &Log{o: o, busy: make(chan struct{}, 1)}
}

// Append keeps the events, durably and in their order, before it returns. It sets their ids, and At where
// it is zero.
func (l *Log) Append(ctx context.Context, events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	b := l.join(events)
	select {
	case <-b.done:
		return b.err
	case l.busy <- struct{}{}:
	}
	defer func() { <-l.busy }()
	select {
	case <-b.done:
		return b.err
	default:
	}
	l.mu.Lock()
	b, l.pending = l.pending, nil
	l.mu.Unlock()
	b.err = l.write(context.WithoutCancel(ctx), b.events)
	close(b.done)
	return b.err
}

func (l *Log) join(events []Event) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = &batch{done: make(chan struct{})}
	}
	l.pending.events = append(l.pending.events, events...)
	return l.pending
}

// write keeps a batch. Only who is busy calls it.
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
			if err := eventTable.Put(tx, turn(id), recordOf(e)); err != nil {
				return err
			}
			if e.NodeID == "" {
				continue
			}
			if err := ofNode.In(e.NodeID).Put(tx, turn(id), struct{}{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep events: %w", err)
	}
	l.last = last
	return nil
}

// next makes an id greater than last.
func (l *Log) next(last string) (string, error) {
	id, err := store.NewID(l.o.Now(), l.o.Rand)
	if err != nil || id > last {
		return id, err
	}
	return after(last)
}

// newest returns the newest id, "" where there is none.
func newest(tx store.Tx) (string, error) {
	for row, err := range eventTable.All(tx, "") {
		return turn(row.ID), err
	}
	return "", nil
}

// Filter chooses events; a zero field chooses all.
type Filter struct {
	NodeID   string
	Group    string
	Kinds    []Kind
	Severity Severity // this one and those above
	Since    time.Time
}

func (f Filter) takes(e Event) bool {
	return (f.NodeID == "" || e.NodeID == f.NodeID) && (f.Group == "" || e.Group == f.Group) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) &&
		e.Severity.Rank() >= f.Severity.Rank() && !e.At.Before(f.Since)
}

// Page asks for a part of a list. Limit 0: all.
type Page struct {
	Limit  int
	Cursor string // the id of the last event of the page before
}

// List returns events, the newest first.
func (l *Log) List(ctx context.Context, f Filter, p Page) (events []Event, next string, err error) {
	cursor := ""
	if p.Cursor != "" {
		cursor = turn(p.Cursor)
	}
	err = l.o.Store.View(ctx, func(tx store.Tx) error {
		events, next = []Event{}, ""
		add := func(e Event) (more bool) {
			if !f.takes(e) {
				return e.At.IsZero() || !e.At.Before(f.Since.Add(-clockSlack)) || f.Since.IsZero()
			}
			if p.Limit > 0 && len(events) == p.Limit {
				next = events[p.Limit-1].ID
				return false
			}
			events = append(events, e)
			return true
		}
		if f.NodeID == "" {
			for row, err := range eventTable.All(tx, cursor) {
				if err != nil {
					return err
				}
				if !add(row.Value.event(turn(row.ID))) {
					return nil
				}
			}
			return nil
		}
		for row, err := range ofNode.In(f.NodeID).All(tx, cursor) {
			if err != nil {
				return err
			}
			r, err := eventTable.Get(tx, row.ID)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !add(r.event(turn(row.ID))) {
				return nil
			}
		}
		return nil
	})
	return events, next, err
}

// clockSlack is how far an event's time may lie before that of an older one, since clocks are set back.
const clockSlack = time.Hour
