package panel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// expirer takes peers from their nodes when their time comes. Each node has a task of its own, so that one
// that does not answer keeps no other waiting.
type expirer struct {
	s     *Service
	slots chan struct{} // full while so many tasks are at work as may be
	tasks sync.WaitGroup

	mu    sync.Mutex // protects the rest; never held over I/O
	busy  map[string]bool
	again map[string]retry // by the deadline's id
}

// retry is when a deadline is dealt with again, and how long that pause is.
type retry struct {
	at    time.Time
	pause time.Duration
}

func newExpirer(s *Service) *expirer {
	return &expirer{s: s, slots: make(chan struct{}, s.o.Parallel), busy: make(map[string]bool), again: make(map[string]retry)}
}

// expiryLoop runs an expirer until the context ends.
func (s *Service) expiryLoop(ctx context.Context) error {
	ctx = event.WithActor(ctx, event.Actor{Kind: event.ActorSystem, Name: "expiry"})
	e := newExpirer(s)
	defer e.tasks.Wait()
	for {
		pause, err := e.begin(ctx)
		if err != nil && ctx.Err() == nil {
			s.o.Logger.LogAttrs(ctx, slog.LevelError, "peers that expire were not looked for", slog.String("error", err.Error()))
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-s.deadlines.wake:
			timer.Stop()
		}
	}
}

// begin starts a task for each node with peers whose time has come, and says when to come again.
func (e *expirer) begin(ctx context.Context) (time.Duration, error) {
	rows, pause, err := e.s.dueDeadlines(ctx)
	if err != nil {
		return expiryPause, err
	}
	due, left := e.choose(rows)
	for nodeID, all := range due {
		e.tasks.Go(func() { e.deal(ctx, nodeID, all) })
	}
	return min(pause, left), nil
}

// dueDeadlines are those whose time has come; left is until the next one's.
func (s *Service) dueDeadlines(ctx context.Context) (due []deadline, left time.Duration, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		due, left = nil, expiryPause
		for row, err := range deadlineTable.All(tx, "") {
			if err != nil {
				return err
			}
			if until := row.Value.At.Sub(s.o.Now()); until > 0 {
				left = min(left, until)
				return nil
			}
			due = append(due, row.Value)
		}
		return nil
	})
	return due, left, err
}

// choose marks as busy the nodes that are dealt with now, and says when the first that wait are.
func (e *expirer) choose(rows []deadline) (map[string][]deadline, time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, pause := e.s.o.Now(), expiryPause
	due, waiting := make(map[string][]deadline), make(map[string]retry)
	for _, d := range rows {
		r, tried := e.again[d.id()]
		if tried {
			waiting[d.id()] = r
		}
		switch left := r.at.Sub(now); {
		case e.busy[d.NodeID]: // its task wakes the loop
		case tried && left > 0 && left <= r.pause: // not of a clock that was put back
			pause = min(pause, left)
		default:
			due[d.NodeID] = append(due[d.NodeID], d)
		}
	}
	e.again = waiting // of the others the deadline is gone
	for nodeID := range due {
		e.busy[nodeID] = true
	}
	return due, pause
}

// deal is a node's task.
func (e *expirer) deal(ctx context.Context, nodeID string, due []deadline) {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return
	}
	err := e.s.expireOn(ctx, nodeID, due)
	if err != nil {
		e.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "peers that expired were not dealt with yet",
			slog.String("node", nodeID), slog.String("error", err.Error()))
	}
	e.mu.Lock()
	delete(e.busy, nodeID)
	for _, d := range due {
		if err == nil {
			delete(e.again, d.id())
			continue
		}
		pause := min(max(expiryRetry, 2*e.again[d.id()].pause), expiryMaxRetry)
		e.again[d.id()] = retry{at: e.s.o.Now().Add(pause), pause: pause}
	}
	e.mu.Unlock()
	e.s.deadlines.awake()
}

// expireOn takes the peers of one node from it, and tells of them, of a failure once. A node that says no has
// drift until it is reconciled; an error is of what is to be tried again.
func (s *Service) expireOn(ctx context.Context, nodeID string, due []deadline) error {
	wait, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
	defer cancel()
	release, err := s.hold(wait, nodeID)
	if err != nil {
		return err
	}
	defer release()
	ctx = context.WithoutCancel(ctx)
	st, err := s.state(ctx, nodeID)
	if errors.Is(err, ErrNotFound) {
		return s.settleDeadlines(ctx, due, nil)
	}
	if err != nil {
		return err
	}
	peers := st.expiredOf(due)
	err = s.revoke(ctx, st.node, peers)
	silent := err != nil && unanswered(err)
	if silent {
		untold := make([]deadline, 0, len(due))
		for _, d := range due {
			if !d.Told {
				untold = append(untold, d)
			}
		}
		s.tellExpired(ctx, st.node, st.expiredOf(untold), err)
		return errors.Join(err, s.settleDeadlines(ctx, nil, untold))
	}
	s.tellExpired(ctx, st.node, peers, err)
	return s.settleDeadlines(ctx, due, nil)
}

// unanswered reports whether nobody is known to have said no.
func unanswered(err error) bool {
	n, ok := errors.AsType[*NodeError](err)
	return ok && !n.answered && n.Code != errDisabled
}

// settleDeadlines drops those that are dealt with, and keeps of the others that their failure was told. The caller
// holds the node's slot; a deadline that is not there any more is not made again.
func (s *Service) settleDeadlines(ctx context.Context, done, told []deadline) error {
	if len(done)+len(told) == 0 {
		return nil
	}
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		for _, d := range done {
			if err := deadlineTable.Delete(tx, d.id()); err != nil {
				return err
			}
		}
		for _, d := range told {
			if _, err := deadlineTable.Get(tx, d.id()); errors.Is(err, store.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			d.Told = true
			if err := deadlineTable.Put(tx, d.id(), d); err != nil {
				return err
			}
		}
		return nil
	})
}

// expiredOf are those that expired and would be on the node otherwise.
func (st *nodeState) expiredOf(due []deadline) []*Peer {
	ids := make(map[string]bool, len(due))
	for _, d := range due {
		ids[d.PeerID] = true
	}
	var out []*Peer
	for _, p := range st.peers {
		if ids[p.ID] && p.Enabled && p.expired(st.at) {
			out = append(out, p)
		}
	}
	return out
}

// revoke removes expired peers from their node, in one call.
func (s *Service) revoke(ctx context.Context, n Node, peers []*Peer) error {
	if len(peers) == 0 {
		return nil
	}
	changes := make([]agent.Change, len(peers))
	for i, p := range peers {
		changes[i] = agent.Change{Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: p.PublicKey.String()}}
	}
	return s.push(ctx, n, changes)
}

// tellExpired tells how that ended.
func (s *Service) tellExpired(ctx context.Context, n Node, peers []*Peer, err error) {
	if len(peers) == 0 {
		return
	}
	who := fmt.Sprintf("%d peers", len(peers))
	if len(peers) == 1 {
		who = "peer " + peers[0].title()
	}
	e := event.Event{
		Kind: event.PeerExpired, Severity: event.Info, Revision: n.Revision,
		Message: who + " expired, and the node has it no more",
	}
	outcome, why := event.Done, ""
	if err != nil {
		outcome, why = event.Failed, reasonOf(err)
		e.Severity, e.Message = event.Warning, who+" expired, but may be on the node still: "+why
	}
	for _, p := range peers {
		e.Changes = append(e.Changes, event.Change{
			Op: PeerRemoved, Peer: p.PublicKey.String(), Name: p.Name, Outcome: outcome, Error: why,
			Before: map[string]any{"allowed_ips": inBrief(drift.Texts(p.AllowedIPs)), "expires_at": stampOf(p.ExpiresAt)},
		})
	}
	s.tell(ctx, n, e)
}
