package panel

import (
	"fmt"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

const (
	// expiryPause is how long the loop sleeps at most: a clock may be set.
	expiryPause = time.Minute
	// A node that was busy, or did not answer, is tried again after a time that doubles from one to the other.
	expiryRetry, expiryMaxRetry = 5 * time.Second, time.Hour
)

// deadline is a peer that is to be taken from its node at a time to come. It is there until the node has
// answered to that; that the peer is not wanted any more does not depend on it.
type deadline struct {
	NodeID string    `json:"node_id"`
	PeerID string    `json:"peer_id"`
	At     time.Time `json:"at"`
	Told   bool      `json:"told,omitempty"` // that it may be on the node still
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
		d.awake()
		return
	}
}

func (d deadlines) awake() {
	select {
	case d.wake <- struct{}{}:
	default: // it is awake
	}
}
