package panel

import (
	"context"
	"errors"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// Preview is what a change would do that was not made: what of it differs from the desired state of now, and so from
// a node that is in sync. What the nodes really have is not looked at.
type Preview struct {
	Drift []PreviewNode
	Stale []PreviewFile
}

// PreviewNode is a node that the change makes drift.
type PreviewNode struct {
	ID, Name  string
	Peers     []PreviewPeer
	Interface []string // settings that are wished for with another value, or that were not wished for before
}

// PreviewPeer is a peer that the change makes differ from what is on its node.
type PreviewPeer struct {
	ID, Name string
	Fields   []string // of package drift
}

// PreviewFile is a client's file that was as it should be and becomes stale.
type PreviewFile struct{ NodeID, NodeName, PeerID, Name string }

// PreviewGroup says what UpdateGroup would do; nothing is stored.
func (s *Service) PreviewGroup(ctx context.Context, id string, in GroupInput) (Preview, error) {
	return s.foreseePreset(ctx, func(tx store.Tx) (users, error) {
		_, u, err := s.changeGroup(ctx, tx, id, in)
		return u, err
	})
}

// PreviewTemplate says what UpdateTemplate would do; nothing is stored.
func (s *Service) PreviewTemplate(ctx context.Context, id string, in TemplateInput) (Preview, error) {
	return s.foreseePreset(ctx, func(tx store.Tx) (users, error) {
		_, u, err := s.changeTemplate(ctx, tx, id, in)
		return u, err
	})
}

// PreviewNode says what UpdateNode would do, as long as the node stays the same interface of the same agent; nothing
// is stored.
func (s *Service) PreviewNode(ctx context.Context, id string, in NodeInput) (Preview, error) {
	var after NodeView
	err := s.try(ctx, func(tx store.Tx) error {
		var err error
		after, _, err = s.changeNodeIn(ctx, tx, id, "", in.apply)
		return err
	})
	if err != nil {
		return Preview{}, err
	}
	return s.foresee(ctx, []string{id}, func(Node) Node { return after.Node })
}

// foreseePreset says what a change of a group or a template would do to who refers to it.
func (s *Service) foreseePreset(ctx context.Context, change func(store.Tx) (users, error)) (Preview, error) {
	var who users
	var after *presets
	err := s.try(ctx, func(tx store.Tx) error {
		var err error
		if who, err = change(tx); err != nil {
			return err
		}
		after, err = presetsOf(tx)
		return err
	})
	if err != nil {
		return Preview{}, err
	}
	return s.foresee(ctx, who.reached(), func(n Node) Node {
		n.presets = after
		return n
	})
}

// errTried ends a transaction that is not to be kept.
var errTried = errors.New("only tried")

// try makes a change as it would be made, refusals included, and keeps nothing of it.
func (s *Service) try(ctx context.Context, change func(store.Tx) error) error {
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		return nil
	}
	return err
}

// foresee compares the nodes as they are with what they would be.
func (s *Service) foresee(ctx context.Context, nodeIDs []string, after func(Node) Node) (Preview, error) {
	p := Preview{Drift: []PreviewNode{}, Stale: []PreviewFile{}}
	for _, id := range nodeIDs {
		st, err := s.state(ctx, id)
		if errors.Is(err, ErrNotFound) {
			continue // forgotten meanwhile
		}
		if err != nil {
			return p, err
		}
		fetched, err := s.fetchedOf(ctx, id)
		if err != nil {
			return p, err
		}
		next := after(st.node)
		if n := st.drifts(next); len(n.Peers)+len(n.Interface) > 0 {
			p.Drift = append(p.Drift, n)
		}
		p.Stale = append(p.Stale, st.outdates(next, fetched)...)
	}
	return p, nil
}

// drifts says what would differ on the node if it became next here and stayed as it is there.
func (st *nodeState) drifts(next Node) PreviewNode {
	out := PreviewNode{
		ID: next.ID, Name: next.Name, Peers: []PreviewPeer{},
		Interface: drift.NewWishes(st.node.interfaceWish(), next.interfaceWish()),
	}
	for _, p := range st.peers {
		if p.wanted(st.at) && effective(st.node, *p).Keepalive != effective(next, *p).Keepalive {
			out.Peers = append(out.Peers, PreviewPeer{ID: p.ID, Name: p.Name, Fields: []string{drift.FieldKeepalive}})
		}
	}
	return out
}

// outdates are the clients' files that would become stale.
func (st *nodeState) outdates(next Node, fetched map[string]fetchedRecord) []PreviewFile {
	var out []PreviewFile
	for _, p := range st.peers {
		if r, ok := fetched[p.ID]; ok && !r.stale(st.node, *p) && r.stale(next, *p) {
			out = append(out, PreviewFile{NodeID: next.ID, NodeName: next.Name, PeerID: p.ID, Name: p.Name})
		}
	}
	return out
}
