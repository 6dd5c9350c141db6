package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// stopWithin is the one deadline of all clean-ups; container runtimes kill after 10 s.
const stopWithin = 9 * time.Second

// cleanups run last in, first out. Not safe for concurrent use.
type cleanups struct {
	log  *slog.Logger
	list []cleanup
}

type cleanup struct {
	name string
	do   func(context.Context) error
}

func (c *cleanups) add(name string, do func(context.Context) error) {
	c.list = append(c.list, cleanup{name, do})
}

// run does every clean-up, the later ones even where an earlier one failed or the deadline is over.
// A second call does nothing.
func (c *cleanups) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	var errs []error
	for _, step := range slices.Backward(c.list) {
		if err := step.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", step.name, err))
			continue
		}
		c.log.Debug("stopped", slog.String("part", step.name))
	}
	c.list = nil
	return errors.Join(errs...)
}

// closing adapts a Close that knows no deadline: past it the process goes on without waiting, as it
// is about to end anyway.
func closing(f func() error) func(context.Context) error {
	return func(ctx context.Context) error {
		done := make(chan error, 1)
		go func() { done <- f() }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return fmt.Errorf("it did not end in time: %w", ctx.Err())
		}
	}
}
