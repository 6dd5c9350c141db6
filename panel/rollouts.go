package panel

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// rollouts keeps those that run and the last that ended, until the process ends: what they did is in the log
// of events.
type rollouts struct {
	queue chan *rollout // to who runs them
	ended chan struct{} // closed when nobody does any more

	mu  sync.Mutex // protects all
	all []*rollout // the newest last
}

// StartRollout begins a rollout, which Run carries out.
func (s *Service) StartRollout(ctx context.Context, in RolloutInput) (Rollout, error) {
	r, err := s.newRollout(ctx, in)
	if err != nil {
		return Rollout{}, err
	}
	if err := s.rollouts.add(r); err != nil {
		return Rollout{}, err
	}
	select {
	case s.rollouts.queue <- r:
	case <-s.rollouts.ended:
		s.rollouts.drop(r)
		return Rollout{}, fmt.Errorf("%w: it is stopping", ErrUnavailable)
	case <-ctx.Done():
		s.rollouts.drop(r)
		return Rollout{}, context.Cause(ctx)
	}
	out, _ := r.snapshot()
	return out, nil
}

func (s *Service) newRollout(ctx context.Context, in RolloutInput) (*rollout, error) {
	if err := in.Options.check(); err != nil {
		return nil, err
	}
	nodes, plans, err := s.rolloutNodes(ctx, in)
	if err != nil {
		return nil, err
	}
	var p problems
	if in.MaxParallel == 0 {
		in.MaxParallel = DefaultMaxParallel
	}
	p.between("max_parallel", in.MaxParallel, 1, maxMaxParallel, " nodes")
	waves := splitWaves(in.Waves, len(nodes), &p)
	if err := p.err(); err != nil {
		return nil, err
	}
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return nil, err
	}
	r := &rollout{
		options: in.Options, plans: plans, ctx: context.WithoutCancel(ctx), cancel: make(chan struct{}), changed: make(chan struct{}),
		state: Rollout{ID: id, State: RolloutRunning, Actor: event.ActorOf(ctx), MaxParallel: in.MaxParallel, Waves: waves, StartedAt: now},
	}
	for wave, size := range waves {
		for range size {
			n := nodes[len(r.state.Nodes)]
			r.state.Nodes = append(r.state.Nodes, RolloutNode{NodeID: n.ID, NodeName: n.Name, Wave: wave + 1, State: NodeWaiting})
		}
	}
	return r, nil
}

// rolloutPlans are the plans that were named, by node, and the nodes that were named, by their plans or without.
func (s *Service) rolloutPlans(in RolloutInput) (map[string]rolloutPlan, []string, error) {
	if in.Plans == nil {
		return nil, in.NodeIDs, nil
	}
	plans, ids := make(map[string]rolloutPlan, len(in.Plans)), make([]string, 0, len(in.Plans))
	for _, p := range in.Plans {
		if p.PlanID == "" {
			return nil, nil, Invalid("plans", "the plan of node %s has no plan_id", clip(p.NodeID))
		}
		if _, twice := plans[p.NodeID]; twice {
			return nil, nil, Invalid("plans", "node %s has two", clip(p.NodeID))
		}
		a, o, err := s.agreed(p.NodeID, ReconcileOptions{PlanID: p.PlanID, Only: p.Only, AllowMassRemoval: in.Options.AllowMassRemoval})
		if err != nil {
			return nil, nil, err
		}
		plans[p.NodeID] = rolloutPlan{agreed: a, options: o}
		ids = append(ids, p.NodeID)
	}
	return plans, ids, nil
}

// rolloutNodes are the chosen nodes in the order in which they were named, and their plans.
func (s *Service) rolloutNodes(ctx context.Context, in RolloutInput) ([]Node, map[string]rolloutPlan, error) {
	plans, ids, err := s.rolloutPlans(in)
	if err != nil {
		return nil, nil, err
	}
	given := 0
	for _, one := range []bool{in.NodeIDs != nil, in.GroupID != "", in.Plans != nil} {
		if one {
			given++
		}
	}
	if given > 1 {
		return nil, nil, Invalid("nodes", "the nodes are chosen twice: expected one of nodes, group_id and plans, or none for all")
	}
	all, err := s.allNodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	if in.GroupID != "" {
		if _, err := s.Group(ctx, in.GroupID); err != nil {
			return nil, nil, err
		}
	}
	if ids == nil {
		return slices.DeleteFunc(all, func(n Node) bool { return !n.Enabled || in.GroupID != "" && n.GroupID != in.GroupID }), plans, nil
	}
	var out []Node
	for _, id := range ids {
		i := slices.IndexFunc(all, func(n Node) bool { return n.ID == id })
		switch {
		case i < 0:
			return nil, nil, notFoundf("there is no node %q", clip(id))
		case slices.ContainsFunc(out, func(n Node) bool { return n.ID == id }):
			return nil, nil, Invalid("nodes", "node %s is named twice", clip(id))
		}
		out = append(out, all[i])
	}
	return out, plans, nil
}

func (b *rollouts) add(r *rollout) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	running := 0
	kept := b.all[:0:0]
	for i, other := range b.all {
		state, _ := other.snapshot()
		if state.State == RolloutRunning {
			running++
		}
		if state.State == RolloutRunning || len(b.all)-i < keptRollouts {
			kept = append(kept, other)
		}
	}
	if running >= maxRollouts {
		return conflictf("%d rollouts run already: wait for one to end, or cancel it", running)
	}
	b.all = append(kept, r)
	return nil
}

func (b *rollouts) drop(r *rollout) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = slices.DeleteFunc(b.all, func(other *rollout) bool { return other == r })
}

func (b *rollouts) find(id string) (*rollout, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.all {
		if s, _ := r.snapshot(); s.ID == id {
			return r, nil
		}
	}
	return nil, notFoundf("there is no rollout %q: the last %d are kept, and not over a restart of the panel", clip(id), keptRollouts)
}

// Rollouts lists those that run and the last that ended, the newest first.
func (s *Service) Rollouts(context.Context) ([]Rollout, error) {
	s.rollouts.mu.Lock()
	defer s.rollouts.mu.Unlock()
	out := []Rollout{}
	for _, r := range slices.Backward(s.rollouts.all) {
		state, _ := r.snapshot()
		out = append(out, state)
	}
	return out, nil
}

// Rollout returns one rollout as it is now.
func (s *Service) Rollout(_ context.Context, id string) (Rollout, error) {
	r, err := s.rollouts.find(id)
	if err != nil {
		return Rollout{}, err
	}
	state, _ := r.snapshot()
	return state, nil
}

// FollowRollout yields a rollout as it is now, and again when it is another, until it has ended or ctx has.
func (s *Service) FollowRollout(ctx context.Context, id string) (iter.Seq[Rollout], error) {
	r, err := s.rollouts.find(id)
	if err != nil {
		return nil, err
	}
	return func(yield func(Rollout) bool) {
		for {
			state, changed := r.snapshot()
			if !yield(state) || state.State != RolloutRunning {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

// CancelRollout lets a rollout begin with no other node. Those that are being written to are done.
func (s *Service) CancelRollout(_ context.Context, id string) (Rollout, error) {
	r, err := s.rollouts.find(id)
	if err != nil {
		return Rollout{}, err
	}
	state, _ := r.snapshot()
	if state.State != RolloutRunning {
		return state, conflictf("the rollout has ended: it %s", state.State)
	}
	r.once.Do(func() { close(r.cancel) })
	return state, nil
}
