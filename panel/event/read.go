package event

import (
	"context"
	"errors"
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

func (f Filter) takes(e Event) bool {
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
	err = l.o.Store.View(ctx, func(tx store.Tx) error {
		events, next = []Event{}, ""
		for e, err := range newestFirst(tx, f.NodeID, p.Cursor) {
			switch {
			case err != nil:
				return err
			case !f.takes(e):
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
	after := ""
	if before != "" {
		after = turn(before)
	}
	return func(yield func(Event, error) bool) {
		if nodeID == "" {
			for row, err := range eventTable.All(tx, after) {
				if !yield(row.Value.event(turn(row.ID)), err) || err != nil {
					return
				}
			}
			return
		}
		for row, err := range ofNode.In(nodeID).All(tx, after) {
			var r record
			if err == nil {
				r, err = eventTable.Get(tx, row.ID)
			}
			if errors.Is(err, store.ErrNotFound) {
				continue // swept meanwhile
			}
			if !yield(r.event(turn(row.ID)), err) || err != nil {
				return
			}
		}
	}
}
