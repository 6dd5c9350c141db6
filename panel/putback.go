package panel

import (
	"context"
	"errors"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/store"
)

// notTaken begins the sentence of a revision that stands for what a node refused.
const notTaken = "put back, as the node did not take it"

// putBack undoes the change of a peer that the node did not take. Nothing is told of it but to who asked,
// and of all such changes in a row one revision is left: a node that refuses all must not cost the history
// of what it took. Where somebody else's change came between, both ways are revisions like any.
func (s *Service) putBack(ctx context.Context, st *nodeState, did revised, c peerChange, cause error) error {
	back := []peerChange{{before: c.after, after: c.before}}
	e, ok := errors.AsType[*NodeError](cause)
	untouched := ok && e.untouched
	var rev revised
	var alone bool
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, st.node.ID)
		if err != nil {
			return err
		}
		next := r
		if err := putPeers(tx, st.node.ID, &next, back, peerWrite{now: s.now()}); err != nil {
			return err
		}
		if untouched {
			if err := st.restoreFormers(tx, c); err != nil {
				return err
			}
		}
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		if alone = r.Revision == did.Number; alone {
			rev, err = s.voidRevision(tx, ps, st.node.ID, did, next)
		} else {
			rev, err = s.revise(ctx, tx, ps, st.node.ID, r, next, back, notTaken)
		}
		return err
	})
	if err != nil {
		s.tellRevised(ctx, did) // it stands
		return err
	}
	s.deadlines.changed(back)
	if !alone {
		s.tellRevised(ctx, did, rev)
	}
	s.states.drop(st.node.ID)
	if alone && untouched {
		s.states.put(st.patched(rev.node, nil, s.now()))
	}
	return nil
}

// voidRevision takes back the newest revision, and writes one that changes nothing in its place and that of
// a void one before it. Its number is a new one: what was known of the node at the other is not to be believed.
func (s *Service) voidRevision(tx store.Tx, ps *presets, nodeID string, did revised, next nodeRecord) (revised, error) {
	r := Revision{Number: did.Number + 1, At: s.now(), Actor: did.Actor, Summary: notTaken + ": " + did.Summary}
	next.Revision = r.Number
	record := recordOfRevision(r, 0)
	record.Void = true
	last, err := revisionTable.In(nodeID).Get(tx, revisionID(did.Number-1))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return revised{}, err
	}
	if record.Skipped = last.Skipped + 1; last.Void {
		record.Skipped++
		if err := dropRevision(tx, nodeID, did.Number-1); err != nil {
			return revised{}, err
		}
	}
	err = errors.Join(dropRevision(tx, nodeID, did.Number), revisionTable.In(nodeID).Put(tx, revisionID(r.Number), record), nodeTable.Put(tx, nodeID, next))
	return revised{Revision: r, node: next.node(nodeID, ps)}, err
}

// restoreFormers makes the former peers with the keys of a change what they were before it: the node was not
// touched, so a stranger of the same key is none of the panel's.
func (st *nodeState) restoreFormers(tx store.Tx, c peerChange) error {
	keys := make(map[wgtypes.Key]bool)
	for _, p := range []*Peer{c.before, c.after} {
		if p != nil {
			keys[p.PublicKey] = true
		}
	}
	table := formerTable.In(st.node.ID)
	for key := range keys {
		var err error
		if f, ok := st.former[key]; ok {
			err = table.Put(tx, formerID(key), formerRecord{PeerID: f.PeerID, Name: f.Name, At: f.At, RolledBack: f.RolledBack})
		} else {
			err = table.Delete(tx, formerID(key))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
