package event

import (
	"context"
	"iter"
	"slices"

	"github.com/wgfleet/wgfleet/store"
)

// followBatch is how many events a follower reads at once.
const followBatch = 100

// Follow yields each event that was kept after the one with the id after, the oldest first and none twice,
// and then each one that comes, until ctx ends: its cause is the last pair. "" is before all that are kept;
// Last is where only new ones are wanted. A slow consumer holds up nobody and misses nothing but what is
// dropped for its age meanwhile. Range over it once.
func (l *Log) Follow(ctx context.Context, f Filter, after string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			kept := l.written()
			ids, err := l.since(ctx, f.NodeID, after)
			for batch := range slices.Chunk(ids, followBatch) {
				var events []Event
				if events, err = l.get(ctx, batch); err != nil {
					break
				}
				for _, e := range events {
					if f.Takes(e) && !yield(e, nil) {
						return
					}
				}
				after = batch[len(batch)-1]
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			select {
			case <-kept:
			case <-ctx.Done():
				yield(Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

// Last is the id of the newest event, "" where there is none.
func (l *Log) Last(ctx context.Context) (string, error) {
	var id string
	err := l.o.Store.View(ctx, func(tx store.Tx) (err error) {
		id, err = newest(tx)
		return err
	})
	return id, err
}

// written is closed as soon as more events are kept.
func (l *Log) written() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// announce wakes those who follow.
func (l *Log) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.news)
	l.news = make(chan struct{})
}

// since returns the ids of the events after one, the oldest first.
func (l *Log) since(ctx context.Context, nodeID, after string) ([]string, error) {
	var ids []string
	err := l.o.Store.View(ctx, func(tx store.Tx) error {
		ids = nil
		for id, err := range idsBefore(tx, nodeID, "") {
			if err != nil {
				return err
			}
			if id <= after {
				break
			}
			ids = append(ids, id)
		}
		slices.Reverse(ids)
		return nil
	})
	return ids, err
}

// get reads events; those that are gone are left out.
func (l *Log) get(ctx context.Context, ids []string) ([]Event, error) {
	var events []Event
	err := l.o.Store.View(ctx, func(tx store.Tx) error {
		events = nil
		for _, id := range ids {
			e, found, err := get(tx, id)
			if err != nil {
				return err
			}
			if found {
				events = append(events, e)
			}
		}
		return nil
	})
	return events, err
}
