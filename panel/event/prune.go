package event

import (
	"context"
	"errors"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// Bounds of what is kept, where Options name none.
const (
	DefaultKeep = 90 * 24 * time.Hour
	DefaultMax  = 100_000
)

// pruneBatch is how many events one transaction drops.
const pruneBatch = 500

// Prune drops the events that are too old or too many, the oldest, and returns how many.
func (l *Log) Prune(ctx context.Context) (int, error) {
	total := 0
	for {
		n, err := l.pruneSome(ctx)
		if total += n; err != nil || n < pruneBatch {
			return total, err
		}
	}
}

func (l *Log) pruneSome(ctx context.Context) (int, error) {
	oldest := l.o.Now().Add(-l.o.Keep)
	var doomed []Event
	err := l.o.Store.View(ctx, func(tx store.Tx) error {
		doomed = nil
		kept := 0
		for e, err := range newestFirst(tx, "", "") {
			if err != nil {
				return err
			}
			if kept++; kept <= l.o.Max && e.At.After(oldest) {
				continue
			}
			if doomed = append(doomed, e); len(doomed) == pruneBatch {
				return nil
			}
		}
		return nil
	})
	if err != nil || len(doomed) == 0 {
		return 0, err
	}
	return len(doomed), l.o.Store.Update(ctx, func(tx store.Tx) error {
		for _, e := range doomed {
			err := eventTable.Delete(tx, turn(e.ID))
			if e.NodeID != "" {
				err = errors.Join(err, ofNode.In(e.NodeID).Delete(tx, turn(e.ID)))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
