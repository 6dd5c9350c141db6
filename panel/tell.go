package panel

import (
	"context"
	"log/slog"

	"github.com/wgfleet/wgfleet/panel/event"
)

// tell keeps an event about a node; who asked is in the context.
func (s *Service) tell(ctx context.Context, n Node, e event.Event) {
	e.NodeID, e.NodeName, e.GroupID = n.ID, n.Name, n.GroupID
	if e.Actor == (event.Actor{}) {
		e.Actor = event.ActorOf(ctx)
	}
	s.append(ctx, e)
}

// append keeps events. What has happened has happened: what could not be kept is logged and fails nothing.
func (s *Service) append(ctx context.Context, events ...event.Event) {
	err := s.events.Append(ctx, events...)
	if err == nil {
		return
	}
	for _, e := range events {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "an event was not kept", slog.String("node", e.NodeID),
			slog.String("kind", string(e.Kind)), slog.String("message", e.Message), slog.String("error", err.Error()))
	}
}
