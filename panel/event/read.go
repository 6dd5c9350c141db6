package event

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// Filter chooses events; a zero field chooses all.
type Filter struct {
	NodeID   string
	Kinds    []Kind
	Severity Severity // this one and those above
	Since    time.Time
}

// Takes reports whether the filter chooses the event.
func (f Filter) Takes(e Event) bool {
	return (f.NodeID == "" || e.NodeID == f.NodeID) &&
		(len(f.Kinds) == 0 || slices.Contains(f.Kinds, e.Kind)) &&
		e.Severity.Rank() >= f.Severity.Rank() && !e.At.Before(f.Since)
}

// Page asks for a part of a list. Limit 0: all.
type Page struct {
	Limit  int
	Cursor string // the id of the last event of the page before
}

// List returns events, the newest first, and the cursor of the next page; "" where there is none.
func (l *Log) List(ctx context.Context, f Filter, p Page) (events []Event, next string, err error) {
	if p.Cursor != "" && !IsID(p.Cursor) {
		return nil, "", fmt.Errorf("%w: the cursor is the id of no event", store.ErrKey)
	}
	err = l.o.Store.View(ctx, func(tx store.Tx) error {
		events, next = []Event{}, ""
		for e, err := range newestFirst(tx, f.NodeID, p.Cursor) {
			switch {
			case err != nil:
				return err
			case !f.Takes(e):
			case p.Limit > 0 && len(events) == p.Limit:
				next = events[p.Limit-1].ID
				return nil
			default:
				events = append(events, e)
			}
		}
		return nil
	})
	return events, next, err
}

// newestFirst yields the events of a node, or with "" all, that are older than the one before.
func newestFirst(tx store.Tx, nodeID, before string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for id, err := range idsBefore(tx, nodeID, before) {
			var e Event
			var found bool
			if err == nil {
				e, found, err = get(tx, id)
			}
			if (found || err != nil) && !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// idsBefore yields the ids of the events of a node, or with "" of all, that are older than the one before, the
// newest first; "" is newer than all.
func idsBefore(tx store.Tx, nodeID, before string) iter.Seq2[string, error] {
	after := ""
	if before != "" {
		after = turn(before)
	}
	ids := eventTable.IDs(tx, after)
	if nodeID != "" {
		ids = ofNode.In(nodeID).IDs(tx, after)
	}
	return func(yield func(string, error) bool) {
		for id, err := range ids {
			if !yield(turn(id), err) || err != nil {
				return
			}
		}
	}
}

// get reads one event; it may have been dropped.
func get(tx store.Tx, id string) (e Event, found bool, err error) {
	r, err := eventTable.Get(tx, turn(id))
	if errors.Is(err, store.ErrNotFound) {
		return e, false, nil
	}
	return r.event(id), err == nil, err
}
