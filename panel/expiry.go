package panel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

const (
	// expiryPause is how long the loop sleeps at most: a clock may be set.
	expiryPause = time.Minute
	// expiryRetry is when it comes back to a node that was busy.
	expiryRetry = 5 * time.Second
)

// deadline is a peer that is to be taken from its node at a time to come. It is there until that was
// tried once; that the peer is not wanted any more does not depend on it.
type deadline struct {
	NodeID string    `json:"node_id"`
	PeerID string    `json:"peer_id"`
	At     time.Time `json:"at"`
}

var deadlineTable = store.NewTable[deadline]("deadline") // the next one first

func deadlineOf(p Peer) deadline { return deadline{NodeID: p.NodeID, PeerID: p.ID, At: p.ExpiresAt} }

func (d deadline) id() string { return fmt.Sprintf("%016x.%s.%s", d.At.Unix(), d.NodeID, d.PeerID) }

// keepDeadlines brings the deadlines up to date with what changes of peers. A rollback makes none that is past: it
// writes to no node, so one of its peers that has expired is drift.
func keepDeadlines(tx store.Tx, changes []peerChange, w peerWrite) error {
	for _, c := range changes {
		var before, after Peer
		if c.before != nil {
			before = *c.before
		}
		if c.after != nil {
			after = *c.after
		}
		if before.ExpiresAt.Equal(after.ExpiresAt) {
			continue // also where it has come: it is dealt with once
		}
		if !before.ExpiresAt.IsZero() {
			if err := deadlineTable.Delete(tx, deadlineOf(before).id()); err != nil {
				return err
			}
		}
		if !after.ExpiresAt.IsZero() && !(w.rollback && after.expired(w.now)) {
			if err := deadlineTable.Put(tx, deadlineOf(after).id(), deadlineOf(after)); err != nil {
				return err
			}
		}
	}
	return nil
}

// deadlines wakes the loop where there may be an earlier one.
type deadlines struct{ wake chan struct{} }

func (d deadlines) changed(changes []peerChange) {
	for _, c := range changes {
		if c.after == nil || c.after.ExpiresAt.IsZero() {
			continue
		}
		select {
		case d.wake <- struct{}{}:
		default: // it is awake
		}
		return
	}
}

// expiryLoop takes peers from their nodes when their time comes, until the context ends.
func (s *Service) expiryLoop(ctx context.Context) error {
	ctx = event.WithActor(ctx, event.Actor{Kind: event.ActorSystem, Name: "expiry"})
	for {
		pause, err := s.expireDue(ctx)
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

// expireDue deals with all peers whose time has come, the nodes side by side, and says when to come again.
func (s *Service) expireDue(ctx context.Context) (time.Duration, error) {
	due := make(map[string][]deadline)
	pause := expiryPause
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		clear(due)
		pause = expiryPause
		for row, err := range deadlineTable.All(tx, "") {
			if err != nil {
				return err
			}
			if left := row.Value.At.Sub(s.o.Now()); left > 0 {
				pause = min(pause, left)
				return nil
			}
			due[row.Value.NodeID] = append(due[row.Value.NodeID], row.Value)
		}
		return nil
	})
	if err != nil {
		return expiryPause, err
	}
	nodes := make([]Node, 0, len(due))
	for id := range due {
		nodes = append(nodes, Node{ID: id})
	}
	for _, err := range sideBySide(nodes, s.o.Parallel, func(n Node) error { return s.expireOn(ctx, n.ID, due[n.ID]) }) {
		if err == nil {
			continue
		}
		pause = min(pause, expiryRetry)
		s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "peers that expired were not dealt with yet", slog.String("error", err.Error()))
	}
	return pause, nil
}

// expireOn takes the peers of one node from it, and tells of them. A node that does not take that has
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
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		s.revoke(ctx, st.node, st.expiredOf(due))
	}
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		for _, d := range due {
			if err := deadlineTable.Delete(tx, d.id()); err != nil {
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

// revoke removes expired peers from their node, in one call, and tells how that ended.
func (s *Service) revoke(ctx context.Context, n Node, peers []*Peer) {
	if len(peers) == 0 {
		return
	}
	changes := make([]agent.Change, len(peers))
	for i, p := range peers {
		changes[i] = agent.Change{Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: p.PublicKey.String()}}
	}
	err := s.push(ctx, n, changes)
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
