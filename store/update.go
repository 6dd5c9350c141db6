package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// Retries after a conflict: pauses double from firstPause to longestPause, each drawn between half and all of that.
// All of them together take some 4 s.
const (
	maxTries     = 50
	firstPause   = time.Millisecond
	longestPause = 100 * time.Millisecond
)

// View implements Store.
func (d *db) View(ctx context.Context, fn func(Tx) error) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.running.Done()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	base, err := d.begin(false)
	if err != nil {
		return err
	}
	t := &tx{ctx: ctx, sealer: d.sealer, base: base}
	defer t.end()
	return fn(t)
}

// begin takes a snapshot, or a transaction of the engine to write to, when no large commit is half replayed.
func (d *db) begin(write bool) (*badger.Txn, error) {
	d.gate.RLock()
	defer d.gate.RUnlock()
	if d.broken != nil {
		return nil, d.broken
	}
	return d.engine.NewTransaction(write), nil
}

func (d *db) usable() error {
	d.gate.RLock()
	defer d.gate.RUnlock()
	return d.broken
}

// Update implements Store.
func (d *db) Update(ctx context.Context, fn func(Tx) error) error {
	return d.update(ctx, func(t *tx) error { return fn(t) })
}

func (d *db) update(ctx context.Context, fn func(*tx) error) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.running.Done()
	pause := firstPause
	for try := 1; ; try++ {
		committed, err := d.try(ctx, fn)
		if committed || err != nil {
			return err
		}
		if try == d.tries {
			return fmt.Errorf("%w: gave up after %d tries", ErrConflict, try)
		}
		if err := d.wait(ctx, pause/2+rand.N(pause/2)); err != nil {
			return fmt.Errorf("%w: gave up after %d tries: %w", ErrConflict, try, err)
		}
		pause = min(2*pause, longestPause)
	}
}

// try runs the transaction once; neither committed nor an error is a conflict.
func (d *db) try(ctx context.Context, fn func(*tx) error) (committed bool, err error) {
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	begun := d.order.begin()
	defer d.order.end(begun)
	base, err := d.begin(false)
	if err != nil {
		return false, err
	}
	t := &tx{ctx: ctx, sealer: d.sealer, base: base, writable: true, read: footprint{keys: map[string]struct{}{}}}
	defer t.end()
	// Begun here, because to begin is to wait for the commits before: at the end that would part commits that can
	// share an fsync.
	out, err := d.begin(true)
	if err != nil {
		return false, err
	}
	defer out.Discard()
	if err := fn(t); err != nil {
		return false, err
	}
	if t.failed != nil {
		return false, t.failed
	}
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	if len(t.writes) == 0 {
		return true, nil
	}
	return d.commit(begun, t, out)
}

func (d *db) commit(begun uint64, t *tx, out *badger.Txn) (committed bool, err error) {
	free, err := d.free()
	if err != nil {
		return false, err
	}
	if need := minFree + 4*uint64(t.size); free < need { // a large transaction is written twice, and tables after it
		return false, fmt.Errorf("%w: %s has %d MiB left and needs %d", ErrNoSpace, d.name, free>>20, need>>20)
	}
	switch err := d.fill(out, t); {
	case errors.Is(err, ErrTooLarge):
		return d.commitLarge(begun, t)
	case err != nil:
		return false, err
	}
	var place *ticket
	durable := make(chan error, 1)
	admitted := d.order.admit(begun, &t.read, t.writes, func() {
		place = d.hub.announce(t.writes)
		if err := d.usable(); err != nil { // it must not come between a marker and its replay
			durable <- err
			return
		}
		out.CommitWith(func(err error) { durable <- translate(err) })
	})
	if !admitted {
		return false, nil
	}
	err = <-durable
	d.hub.settle(place, err == nil)
	return err == nil, err
}

// fill seals the writes into a transaction of the engine; ErrTooLarge if they do not fit.
func (d *db) fill(out *badger.Txn, t *tx) error {
	for _, w := range t.writes {
		var err error
		if w.deleted {
			err = out.Delete([]byte(w.key))
		} else {
			err = out.Set([]byte(w.key), d.sealer.seal(w.key, w.value))
		}
		if err != nil {
			return translate(err)
		}
	}
	return nil
}

func (d *db) wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.closing:
		return ErrClosed
	}
}
