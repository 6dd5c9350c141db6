package panel

import (
	"context"
	"maps"
	"strconv"

	"github.com/wgfleet/wgfleet/store"
)

// Revisions lists the changes of a node's desired state, the newest first.
func (s *Service) Revisions(ctx context.Context, nodeID string, p Page) (list []Revision, next string, err error) {
	after := ""
	if p.Cursor != "" {
		number, err := strconv.ParseUint(p.Cursor, 10, 64)
		if err != nil {
			return nil, "", Invalid("cursor", "is not a cursor of this list")
		}
		after = revisionID(number)
	}
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		list, next = []Revision{}, ""
		if _, err := getNode(tx, nodeID); err != nil {
			return err
		}
		for row, err := range revisionTable.In(nodeID).All(tx, after) {
			if err != nil {
				return err
			}
			number, err := revisionNumber(row.ID)
			if err != nil {
				continue // not of ours
			}
			if p.Limit > 0 && len(list) == p.Limit {
				next = strconv.FormatUint(list[p.Limit-1].Number, 10)
				return nil
			}
			list = append(list, row.Value.revision(number))
		}
		return nil
	})
	return list, next, err
}

// Revision returns a node's desired state as it was.
func (s *Service) Revision(ctx context.Context, nodeID string, number uint64) (RevisionState, error) {
	var v RevisionState
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		p, err := presentOf(tx, nodeID)
		if err != nil {
			return err
		}
		if v.Revision, err = revisionOf(tx, nodeID, p.node, number); err != nil {
			return err
		}
		if err := p.rewind(tx, number); err != nil {
			return err
		}
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		var peers []Peer
		v.Node, peers = p.nouns(ps)
		v.Peers = make([]PeerView, len(peers))
		for i, peer := range peers {
			v.Peers[i] = s.peerView(v.Node, peer, false)
		}
		return nil
	})
	return v, err
}

// DiffRevisions says what leads from one revision to another one, which may be the older; to 0: to the
// present one.
func (s *Service) DiffRevisions(ctx context.Context, nodeID string, from, to uint64) (RevisionDiff, error) {
	var d RevisionDiff
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		p, err := presentOf(tx, nodeID)
		if err != nil {
			return err
		}
		if to == 0 {
			to = p.at
		}
		now := p.node
		for _, number := range []uint64{from, to} {
			if _, err := revisionOf(tx, nodeID, now, number); err != nil {
				return err
			}
		}
		if err := p.rewind(tx, max(from, to)); err != nil {
			return err
		}
		newer := past{id: p.id, node: p.node, peers: maps.Clone(p.peers), at: p.at}
		if err := p.rewind(tx, min(from, to)); err != nil {
			return err
		}
		before, after := p, &newer
		if from > to {
			before, after = after, before
		}
		d = diffPast(before, after, from, to)
		return nil
	})
	return d, err
}

func diffPast(before, after *past, from, to uint64) RevisionDiff {
	return RevisionDiff{
		From: from, To: to, Node: diffNode(before.node.desiredRecord, after.node.desiredRecord),
		Peers: diffPeers(changesBetween(before.id, before.peers, after.peers)),
	}
}
