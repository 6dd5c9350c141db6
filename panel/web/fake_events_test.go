package web

import (
	"context"
	"iter"
	"slices"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/event"
)

// documentEvents are what the fake has in its log, the newest first.
func documentEvents() []event.Event {
	return []event.Event{
		{
			ID: "01900000-0000-7000-8000-000000000002", At: epoch, Kind: event.Reconciled, Severity: event.Warning, NodeID: "n1", NodeName: "Node 1",
			Actor: event.Actor{Kind: event.ActorKey, ID: "k1", Name: "admin"}, Message: "added 1, 0 errors, not verified", PlanID: "plan", Revision: 7,
			Changes: []event.Change{{
				Op: "add", Peer: publicKey.String(), Name: "Alice's phone",
				After: map[string]any{"allowed_ips": []any{"10.0.1.2/32"}}, Outcome: event.Done,
			}},
		},
		{
			ID: "01900000-0000-7000-8000-000000000001", At: epoch, Kind: event.DriftChanged, Severity: event.Info, NodeID: "n3", NodeName: "Node 3",
			Actor: event.Actor{Kind: event.ActorSystem, Name: "panel"}, Message: "it is as the panel wants it", From: "drift", To: "in_sync",
		},
	}
}

func (f *fake) Events(_ context.Context, filter event.Filter, p panel.Page) ([]event.Event, string, error) {
	all := slices.DeleteFunc(documentEvents(), func(e event.Event) bool { return !filter.Takes(e) })
	next := ""
	if len(all) > p.Limit {
		all, next = all[:p.Limit], all[p.Limit-1].ID
	}
	return all, next, f.enter(false)
}

func (f *fake) NodeEvents(ctx context.Context, nodeID string, filter event.Filter, p panel.Page) ([]event.Event, string, error) {
	if _, err := found(f.nodes, "node", nodeID); err != nil {
		return nil, "", err
	}
	filter.NodeID = nodeID
	return f.Events(ctx, filter, p)
}

func (f *fake) LastEvent(context.Context) (string, error) {
	return documentEvents()[0].ID, f.enter(false)
}

// FollowEvents yields what is there, and then nothing more.
func (f *fake) FollowEvents(ctx context.Context, after string) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for _, e := range slices.Backward(documentEvents()) {
			if e.ID > after && !yield(e, nil) {
				return
			}
		}
		<-ctx.Done()
		yield(event.Event{}, context.Cause(ctx))
	}
}
