package panel

import (
	"context"
	"log/slog"

	"github.com/wgfleet/wgfleet/panel/event"
)

// tell keeps an event about a node; who asked is in the context. What has happened has happened: an
// event that could not be kept is logged and fails nothing.
func (s *Service) tell(ctx context.Context, n Node, e event.Event) {
	e.NodeID, e.NodeName = n.ID, n.Name
	if e.Actor == (event.Actor{}) {
		e.Actor = event.ActorOf(ctx)
	}
	if err := s.events.Append(ctx, e); err != nil {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "an event was not kept", slog.String("node", n.ID),
			slog.String("kind", string(e.Kind)), slog.String("message", e.Message), slog.String("error", err.Error()))
	}
}
