package panel

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// pruneInterval is how often what grows by itself is brought back to its bounds.
const pruneInterval = time.Hour

// pruneLoop keeps events and former peers within their bounds, until the context ends.
func (s *Service) pruneLoop(ctx context.Context) error {
	ticks := time.NewTicker(pruneInterval)
	defer ticks.Stop()
	for {
		if err := s.prune(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.LogAttrs(ctx, slog.LevelError, "what is too old was not dropped", slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

func (s *Service) prune(ctx context.Context) error {
	_, err := s.events.Prune(ctx)
	nodes, bad := s.allNodes(ctx)
	err = errors.Join(err, bad)
	for _, n := range nodes {
		err = errors.Join(err, s.o.Store.Update(ctx, func(tx store.Tx) error { return forgetFormers(tx, n.ID, maxFormers) }))
	}
	return err
}
