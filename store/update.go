package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
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
	t := &tx{ctx: ctx, sealer: d.sealer, base: d.engine.NewTransaction(false)}
	defer t.end()
	return fn(t)
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
	t := &tx{
		ctx:    ctx,
		sealer: d.sealer,
		base:   d.engine.NewTransaction(false),
		out:    d.engine.NewTransaction(true),
		read:   footprint{keys: map[string]struct{}{}},
	}
	defer t.end()
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
	return d.commit(begun, t)
}

func (d *db) commit(begun uint64, t *tx) (committed bool, err error) {
	free, err := d.free()
	if err != nil {
		return false, err
	}
	if free < minFree {
		return false, fmt.Errorf("%w: %s has %d MiB left and needs %d", ErrNoSpace, d.name, free>>20, minFree>>20)
	}
	var place *ticket
	durable := make(chan error, 1)
	admitted := d.order.admit(begun, &t.read, t.writes, func() {
		place = d.hub.announce(t.writes)
		t.out.CommitWith(func(err error) { durable <- err })
	})
	if !admitted {
		return false, nil
	}
	err = <-durable
	d.hub.settle(place, err == nil)
	return err == nil, translate(err)
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
