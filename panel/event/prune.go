package event

import (
	"context"
	"errors"
	"slices"
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
	ids, err := l.since(ctx, "", "")
	if err != nil {
		return 0, err
	}
	most := l.o.Now().Add(-l.o.Keep)
	spare := max(0, len(ids)-l.o.Max)
	dropped := 0
	for batch := range slices.Chunk(ids, pruneBatch) {
		n, err := l.drop(ctx, batch, spare-dropped, most)
		if dropped += n; err != nil || n < len(batch) {
			return dropped, err
		}
	}
	return dropped, nil
}

// drop drops the first of the events, so many and those that are older still, and returns how many.
func (l *Log) drop(ctx context.Context, ids []string, many int, older time.Time) (dropped int, err error) {
	err = l.o.Store.Update(ctx, func(tx store.Tx) error {
		dropped = 0
		for _, id := range ids {
			e, found, err := get(tx, id)
			if err != nil || found && dropped >= many && e.At.After(older) {
				return err
			}
			dropped++
			err = eventTable.Delete(tx, turn(id))
			if e.NodeID != "" {
				err = errors.Join(err, ofNode.In(e.NodeID).Delete(tx, turn(id)))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return dropped, nil
}
