package panel

import (
	"context"
	"fmt"
	"sync"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
)

// rolloutLoop carries out the rollouts that are begun, until the context ends; then those that run are
// cancelled.
func (s *Service) rolloutLoop(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer close(s.rollouts.ended)
	for {
		select {
		case r := <-s.rollouts.queue:
			running.Go(func() { s.runRollout(ctx, r) })
		case <-ctx.Done():
			return nil
		}
	}
}

// runRollout does wave after wave. A node that fails lets no other one begin.
func (s *Service) runRollout(ctx context.Context, r *rollout) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	began, _ := r.snapshot()
	s.tell(r.ctx, Node{}, event.Event{
		Kind: event.RolloutStarted, Severity: event.Info, Message: fmt.Sprintf("a rollout over %d nodes in %d waves was begun", len(began.Nodes), len(began.Waves)),
	})
	first := 0
	state := RolloutSucceeded
	for _, size := range began.Waves {
		if state = s.runWave(ctx, r, first, first+size); state != RolloutSucceeded {
			break
		}
		first += size
	}
	r.change(func(out *Rollout) {
		for i := range out.Nodes {
			if n := &out.Nodes[i]; n.State == NodeWaiting {
				n.State, n.Message = NodeSkipped, "the rollout "+state+" before its turn came"
			}
		}
		out.State, out.EndedAt = state, s.now()
	})
	ended, _ := r.snapshot()
	severity := event.Info
	if state != RolloutSucceeded {
		severity = event.Warning
	}
	s.tell(r.ctx, Node{}, event.Event{
		Kind: event.RolloutFinished, Severity: severity, From: RolloutRunning, To: state,
		Message: fmt.Sprintf("the rollout %s: %s", state, ended.summary()),
	})
}

// runWave does the nodes from first up to last, several at a time.
func (s *Service) runWave(ctx context.Context, r *rollout, first, last int) string {
	now, _ := r.snapshot()
	turns := make(chan struct{}, now.MaxParallel)
	failed := make(chan struct{})
	var once sync.Once
	var wave sync.WaitGroup
	defer wave.Wait()
	for i := first; i < last; i++ {
		select {
		case turns <- struct{}{}:
		case <-failed:
			return RolloutFailed
		case <-r.cancel:
			return RolloutCancelled
		case <-ctx.Done():
			return RolloutCancelled
		}
		// Of several reasons to stop any may have been seen: a failure counts before the next begins.
		if stopped(failed) {
			return RolloutFailed
		}
		if stopped(r.cancel) || ctx.Err() != nil {
			return RolloutCancelled
		}
		r.change(func(out *Rollout) { out.Nodes[i].State = NodeRunning })
		wave.Go(func() {
			defer func() { <-turns }()
			if !s.runNode(ctx, r, i) {
				once.Do(func() { close(failed) })
			}
		})
	}
	wave.Wait()
	switch {
	case ctx.Err() != nil && stopped(failed): // the panel stops, and what it did to the last nodes is not known
		return RolloutCancelled
	case stopped(failed):
		return RolloutFailed
	}
	return RolloutSucceeded
}

func stopped(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// runNode reconciles one node, and reports whether that was verified.
func (s *Service) runNode(ctx context.Context, r *rollout, i int) bool {
	now, _ := r.snapshot()
	p, planned := r.plans[now.Nodes[i].NodeID]
	if !planned {
		p.options = r.options
	}
	result, err := s.reconcileAs(event.WithActor(ctx, now.Actor), now.Nodes[i].NodeID, p.options, p.agreed)
	result.Plan = drift.Plan{} // the log has its steps
	good := err == nil && result.Verified
	r.change(func(out *Rollout) {
		n := &out.Nodes[i]
		n.State = NodeDone
		if !good {
			n.State = NodeFailed
		}
		if err != nil {
			n.Message = reasonOf(err)
			return
		}
		n.Message, n.Result = result.done(), &result
		if !good {
			n.Message += fmt.Sprintf(", %d errors, not verified", len(result.Errors))
		}
	})
	return good
}
