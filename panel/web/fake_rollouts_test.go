package web

import (
	"context"
	"iter"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/event"
)

func (f *fake) documentRollout() panel.Rollout {
	return panel.Rollout{
		ID: "o1", State: panel.RolloutFailed, Actor: event.Actor{Kind: event.ActorKey, ID: "k1", Name: "admin"}, MaxParallel: 8,
		Waves: []int{1, 1}, StartedAt: epoch, EndedAt: epoch,
		Nodes: []panel.RolloutNode{
			{NodeID: "n1", NodeName: "Node 1", Wave: 1, State: panel.NodeFailed, Message: "added 1, 1 errors, not verified", Result: &f.result},
			{NodeID: "n3", NodeName: "Node 3", Wave: 2, State: panel.NodeSkipped, Message: "the rollout failed before its turn came"},
		},
	}
}

func (f *fake) rollout(id string) (panel.Rollout, error) {
	return found(map[string]panel.Rollout{"o1": f.documentRollout()}, "rollout", id)
}

func (f *fake) StartRollout(_ context.Context, in panel.RolloutInput) (panel.Rollout, error) {
	f.started = in
	return f.documentRollout(), f.enter(true)
}

func (f *fake) Rollouts(context.Context) ([]panel.Rollout, error) {
	return []panel.Rollout{f.documentRollout()}, f.enter(false)
}

func (f *fake) Rollout(_ context.Context, id string) (panel.Rollout, error) {
	r, err := f.rollout(id)
	if err != nil {
		return r, err
	}
	return r, f.enter(false)
}

// FollowRollout yields the first node's end, and then that of all.
func (f *fake) FollowRollout(_ context.Context, id string) (iter.Seq[panel.Rollout], error) {
	r, err := f.rollout(id)
	if err != nil {
		return nil, err
	}
	return func(yield func(panel.Rollout) bool) {
		running := r
		running.State, running.Nodes = panel.RolloutRunning, append([]panel.RolloutNode{}, r.Nodes...)
		running.Nodes[1].State = panel.NodeWaiting
		if yield(running) {
			yield(r)
		}
	}, f.enter(false)
}

func (f *fake) CancelRollout(ctx context.Context, id string) (panel.Rollout, error) {
	if _, err := f.rollout(id); err != nil {
		return panel.Rollout{}, err
	}
	return f.documentRollout(), f.enter(true)
}
