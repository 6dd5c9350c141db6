package panel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// Peers lists the peers of a node in the order of their making.
func (s *Service) Peers(ctx context.Context, nodeID string, p Page) (peers []PeerView, next string, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		peers, next = []PeerView{}, ""
		r, err := getNode(tx, nodeID)
		if err != nil {
			return err
		}
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		n := r.node(nodeID, ps)
		for row, err := range peerTable.In(nodeID).All(tx, p.Cursor) {
			if err != nil {
				return err
			}
			if p.Limit > 0 && len(peers) == p.Limit {
				next = peers[p.Limit-1].ID
				return nil
			}
			peer := row.Value.peer(nodeID, row.ID)
			stale, err := staleIn(tx, n, peer)
			if err != nil {
				return err
			}
			peers = append(peers, s.peerView(n, peer, stale))
		}
		return nil
	})
	return peers, next, pageError(err)
}

func (s *Service) peerView(n Node, p Peer, stale bool) PeerView {
	return PeerView{Peer: p, Interface: n.WGInterface, Effective: effective(n, p), Expired: p.expired(s.now()), ConfigStale: stale}
}

// SearchPeers finds peers of all nodes whose name, public key, id or allowed IPs hold q.
func (s *Service) SearchPeers(ctx context.Context, q string, p Page) (peers []PeerView, next string, err error) {
	q = strings.ToLower(strings.TrimSpace(q))
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		peers, next = []PeerView{}, ""
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		nodes := make(map[string]Node)
		for row, err := range peerTable.All(tx, p.Cursor) {
			if err != nil {
				return err
			}
			nodeID, id, _ := strings.Cut(row.ID, "/")
			peer := row.Value.peer(nodeID, id)
			if !peer.matches(q) {
				continue
			}
			if p.Limit > 0 && len(peers) == p.Limit {
				last := peers[p.Limit-1]
				next = last.NodeID + "/" + last.ID
				return nil
			}
			n, ok := nodes[nodeID]
			if !ok {
				r, err := getNode(tx, nodeID)
				if err != nil {
					return err
				}
				n = r.node(nodeID, ps)
				nodes[nodeID] = n
			}
			stale, err := staleIn(tx, n, peer)
			if err != nil {
				return err
			}
			peers = append(peers, s.peerView(n, peer, stale))
		}
		return nil
	})
	return peers, next, pageError(err)
}

func (p Peer) matches(q string) bool {
	if q == "" || p.ID == q || strings.Contains(strings.ToLower(p.Name), q) || strings.Contains(strings.ToLower(p.PublicKey.String()), q) {
		return true
	}
	a, err := netip.ParseAddr(q)
	return slices.ContainsFunc(p.AllowedIPs, func(ip netip.Prefix) bool {
		return err == nil && ip.Contains(a) || strings.Contains(ip.String(), q)
	})
}

// Peer returns one peer, with warnings on nested prefixes.
func (s *Service) Peer(ctx context.Context, nodeID, peerID string) (PeerView, error) {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return PeerView{}, err
	}
	p, err := st.peer(peerID)
	if err != nil {
		return PeerView{}, err
	}
	stale, err := s.stale(ctx, st.node, *p)
	return s.viewOf(st, *p, stale), err
}

func (s *Service) viewOf(st *nodeState, p Peer, stale bool) PeerView {
	v := s.peerView(st.node, p, stale)
	v.Warnings = st.warnings(p)
	return v
}

func (st *nodeState) peer(id string) (*Peer, error) {
	for _, p := range st.peers {
		if p.ID == id {
			return p, nil
		}
	}
	return nil, notFoundf("node %s has no peer %q", st.node.Name, clip(id))
}

func getPeer(tx store.Tx, n Node, id string) (Peer, error) {
	r, err := peerTable.In(n.ID).Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
		return Peer{}, notFoundf("node %s has no peer %q", n.Name, clip(id))
	}
	return r.peer(n.ID, id), err
}

// insertPeer writes a peer that is not there, and claims what must be its alone.
func insertPeer(tx store.Tx, p Peer) error {
	if err := peerKeys.In(p.NodeID).Claim(tx, p.PublicKey.String(), p.ID); err != nil {
		return peerTaken(tx, p.NodeID, err, "public key "+p.PublicKey.String())
	}
	for _, ip := range p.AllowedIPs {
		if err := peerIPs.In(p.NodeID).Claim(tx, ip.String(), p.ID); err != nil {
			return peerTaken(tx, p.NodeID, err, "allowed IP "+ip.String())
		}
	}
	if err := p.refer(tx); err != nil {
		return err
	}
	return peerTable.In(p.NodeID).Put(tx, p.ID, recordOfPeer(p))
}

// peerTaken turns a claim that failed into a conflict that names the peer that was first.
func peerTaken(tx store.Tx, nodeID string, err error, what string) error {
	t, ok := errors.AsType[*store.TakenError](err)
	if !ok {
		return err
	}
	other := "peer " + t.Owner
	if r, err := peerTable.In(nodeID).Get(tx, t.Owner); err == nil {
		other = "peer " + r.peer(nodeID, t.Owner).title()
	}
	return conflictf("%s belongs to %s already", what, other)
}

func removePeer(tx store.Tx, p Peer) error {
	errs := []error{peerKeys.In(p.NodeID).Release(tx, p.PublicKey.String(), p.ID)}
	for _, ip := range p.AllowedIPs {
		errs = append(errs, peerIPs.In(p.NodeID).Release(tx, ip.String(), p.ID))
	}
	if p.TemplateID != "" {
		errs = append(errs, peerUse.In(p.TemplateID).In(p.NodeID).Delete(tx, p.ID))
	}
	return errors.Join(append(errs, peerTable.In(p.NodeID).Delete(tx, p.ID))...)
}

// peerChange is a peer before and after a change; nil: it was not, or will not be, there.
type peerChange struct{ before, after *Peer }

// storePeers makes the changes in one transaction, as one revision, and returns that. limited refuses
// more peers than the node may have.
func (s *Service) storePeers(ctx context.Context, st *nodeState, why string, changes []peerChange, limited bool) (revised, error) {
	var rev revised
	nodeID := st.node.ID
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, nodeID)
		if err != nil {
			return err
		}
		next := r
		if err := putPeers(tx, nodeID, &next, changes, peerWrite{limited: limited, now: s.now()}); err != nil {
			return err
		}
		ps, err := st.presetsFor(tx, r, changes)
		if err != nil {
			return err
		}
		rev, err = s.revise(ctx, tx, ps, nodeID, r, next, changes, why)
		return err
	})
	if err == nil {
		s.deadlines.changed(changes)
	}
	return rev, err
}

// peerWrite is how peers are written.
type peerWrite struct {
	limited  bool // not more than the node may have
	rollback bool // it undoes what was done since a revision
	now      time.Time
}

// putPeers writes the changes of peers and counts them. What leaves does so before what comes, so that an
// allowed IP may move.
func putPeers(tx store.Tx, nodeID string, r *nodeRecord, changes []peerChange, w peerWrite) error {
	if err := errors.Join(keepFormers(tx, nodeID, changes, w), keepDeadlines(tx, changes, w)); err != nil {
		return err
	}
	for _, c := range changes {
		if c.before == nil {
			continue
		}
		r.PeerCount--
		if err := removePeer(tx, *c.before); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if c.after == nil {
			continue
		}
		r.PeerCount++
		if w.limited && r.MaxPeers > 0 && r.PeerCount > r.MaxPeers {
			return &refusal{kind: errFull, reason: fmt.Sprintf("node %s has %d peers, as many as max_peers allows", r.Name, r.MaxPeers)}
		}
		if err := insertPeer(tx, *c.after); err != nil {
			return err
		}
	}
	return nil
}
