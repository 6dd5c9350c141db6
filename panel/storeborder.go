package panel

import (
	"context"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/store"
)

// storeBorder makes those failures of a write the panel's own that are not its fault.
type storeBorder struct{ store.Store }

// Update implements store.Store.
func (b storeBorder) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := b.Store.Update(ctx, fn)
	switch {
	case errors.Is(err, store.ErrTooLarge):
		return &tooLargeError{Invalid("body", "holds more than one record can keep")}
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// tooLargeError is a 422, and still store.ErrTooLarge to those who can write less at once.
type tooLargeError struct{ invalid *InvalidError }

func (e *tooLargeError) Error() string   { return e.invalid.Error() }
func (e *tooLargeError) Unwrap() []error { return []error{e.invalid, store.ErrTooLarge} }
