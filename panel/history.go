package panel

import (
	"context"
	"iter"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Events returns what happened, the newest first.
func (s *Service) Events(ctx context.Context, f event.Filter, p Page) (events []event.Event, next string, err error) {
	events, next, err = s.events.List(ctx, f, event.Page(p))
	return events, next, pageError(err)
}

// NodeEvents is Events of a node that the panel has.
func (s *Service) NodeEvents(ctx context.Context, nodeID string, f event.Filter, p Page) (events []event.Event, next string, err error) {
	if _, err := s.Node(ctx, nodeID); err != nil {
		return nil, "", err
	}
	f.NodeID = nodeID
	return s.Events(ctx, f, p)
}

// LastEvent is the id of the newest event, "" where there is none.
func (s *Service) LastEvent(ctx context.Context) (string, error) { return s.events.Last(ctx) }

// FollowEvents yields each event after the one with the id after, and those that come: event.Log.Follow.
func (s *Service) FollowEvents(ctx context.Context, after string) iter.Seq2[event.Event, error] {
	return s.events.Follow(ctx, event.Filter{}, after)
}
