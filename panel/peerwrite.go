package panel

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/store"
)

// compensateTimeout bounds the way back.
const compensateTimeout = 30 * time.Second

// CreatePeer adds a peer to a node, or to the best one for NodeAuto, and pushes it to the node.
func (s *Service) CreatePeer(ctx context.Context, nodeID string, in PeerInput) (PeerView, error) {
	if nodeID == NodeAuto {
		return s.createAnywhere(ctx, in)
	}
	return s.createOn(ctx, nodeID, in)
}

func (s *Service) createOn(ctx context.Context, nodeID string, in PeerInput) (PeerView, error) {
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return PeerView{}, err
	}
	defer release()
	v, err := s.createPeer(ctx, nodeID, in, nil)
	if n, ok := errors.AsType[*takenOnNodeError](err); ok && in.AllowedIPs == nil {
		// An unknown peer of the node has the address that was free here: take one that is free
		// on both sides.
		held, bad := s.prefixesOnNode(ctx, nodeID)
		if bad != nil {
			return PeerView{}, n
		}
		return s.createPeer(ctx, nodeID, in, held)
	}
	return v, err
}

func (s *Service) createPeer(ctx context.Context, nodeID string, in PeerInput, besides []netip.Prefix) (PeerView, error) {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return PeerView{}, err
	}
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return PeerView{}, err
	}
	p := Peer{ID: id, NodeID: nodeID, Enabled: true, CreatedAt: now, UpdatedAt: now}
	if in.PublicKey == nil && in.PrivateKey == nil {
		k, err := randomKey(s.o.Rand)
		if err != nil {
			return PeerView{}, err
		}
		p.PrivateKey = engine.NewSecretKey(k).Clamped()
		p.PublicKey = p.PrivateKey.PublicKey()
	}
	if err := in.apply(&p, s.o.Rand, now); err != nil {
		return PeerView{}, err
	}
	if p.Name == "" {
		p.Name = defaultName("peer", p.PublicKey)
	}
	if in.AllowedIPs == nil {
		if p.AllowedIPs, err = st.allocate(slices.Concat(besides, s.addressesOf(ctx, st.node))); err != nil {
			return PeerView{}, err
		}
		if err := p.checkMTU(); err != nil {
			return PeerView{}, err
		}
	}
	return s.writePeer(ctx, st, nil, &p, in.AllowOffline)
}

func (p Peer) checkMTU() error {
	var bad problems
	if p.MTU != nil {
		bad.mtu("mtu", *p.MTU, hasIPv6(p.AllowedIPs))
	}
	return bad.err()
}

// UpdatePeer changes what the input names, and pushes that to the node.
func (s *Service) UpdatePeer(ctx context.Context, nodeID, peerID string, in PeerInput) (PeerView, error) {
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return PeerView{}, err
	}
	defer release()
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return PeerView{}, err
	}
	before, err := st.peer(peerID)
	if err != nil {
		return PeerView{}, err
	}
	after := *before
	now := s.now()
	if err := in.apply(&after, s.o.Rand, now); err != nil {
		return PeerView{}, err
	}
	after.UpdatedAt, after.Adopted = now, before.Adopted && after.PublicKey == before.PublicKey
	return s.writePeer(ctx, st, before, &after, in.AllowOffline)
}

// DeletePeer removes a peer here and on its node.
func (s *Service) DeletePeer(ctx context.Context, nodeID, peerID string, allowOffline bool) error {
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return err
	}
	defer release()
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return err
	}
	before, err := st.peer(peerID)
	if err != nil {
		return err
	}
	_, err = s.writePeer(ctx, st, before, nil, allowOffline)
	return err
}

// writePeer stores the change of one peer and pushes it. Where the node does not take it, the
// record is put back, unless it may wait for a reconciliation. The caller holds the node's slot.
func (s *Service) writePeer(ctx context.Context, st *nodeState, before, after *Peer, allowOffline bool) (PeerView, error) {
	if after != nil {
		if err := st.judge(*after); err != nil {
			return PeerView{}, err
		}
	}
	// From here on a caller who hangs up must not leave panel and node at odds: each step has a
	// time limit of its own.
	ctx = context.WithoutCancel(ctx)
	rev, err := s.storePeers(ctx, st, "", []peerChange{{before, after}}, before == nil)
	if err != nil {
		return PeerView{}, err
	}
	n := rev.node
	next := s.follow(st, n, peerChange{before, after})
	err = s.pushPeer(ctx, n, before, after)
	if err != nil && allowOffline {
		s.o.Logger.InfoContext(ctx, "the change of a peer waits for its node", "node", n.ID, "error", err.Error())
	} else if err != nil {
		if err := s.settle(ctx, n, before, after, err); err != nil {
			return PeerView{}, s.compensate(ctx, st, rev, peerChange{before, after}, err)
		}
	}
	s.tellRevised(ctx, rev)
	if after == nil {
		s.forgetFetched(ctx, n.ID, before.ID)
		return PeerView{}, nil
	}
	if st, err := s.state(ctx, n.ID); err == nil {
		next = st // with what the contact has taught
	}
	stale, err := s.stale(ctx, next.node, *after)
	if err != nil { // no reason to call what was done a failure
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "whether a client's file is stale is not known",
			slog.String("node", n.ID), slog.String("peer", after.ID), slog.String("error", err.Error()))
	}
	return s.viewOf(next, *after, stale), nil
}

// pushPeer tells the node of one peer's change; without preshared keys where those may not travel
// and stay as they were.
func (s *Service) pushPeer(ctx context.Context, n Node, before, after *Peer) error {
	changes := pushOf(n, before, after, s.now())
	if len(changes) == 0 {
		return nil
	}
	err := s.push(ctx, n, changes)
	if e, ok := errors.AsType[*NodeError](err); ok && e.Code == string(client.PlainSecret) {
		if open, ok := withoutKeys(changes, before, after, s.now()); ok {
			return s.push(ctx, n, open)
		}
	}
	return err
}

// follow brings the known state to the next revision without reading all peers again, unless
// somebody else's change came between.
func (s *Service) follow(st *nodeState, n Node, changes ...peerChange) *nodeState {
	next := st.patched(n, changes, s.now())
	if n.Revision == st.node.Revision+1 {
		s.states.put(next)
	}
	return next
}

// pushOf returns what a node must be told of one peer's change; nothing where only the client's
// side differs.
func pushOf(n Node, before, after *Peer, now time.Time) []agent.Change {
	var out []agent.Change
	was := before != nil && before.wanted(now)
	is := after != nil && after.wanted(now)
	if before != nil && before.Enabled && !was && (after == nil || before.PublicKey != after.PublicKey) {
		was = true // it expired, but may be there still: nobody else would remove it
	}
	if was && (!is || before.PublicKey != after.PublicKey) {
		out = append(out, agent.Change{Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: before.PublicKey.String()}})
		was = false
	}
	if !is {
		return out
	}
	body := peerBody(n, *after)
	if was && sameBody(peerBody(n, *before), body) {
		return out
	}
	return append(out, agent.Change{Op: agent.OpPut, PeerBody: body})
}

func peerBody(n Node, p Peer) agent.PeerBody {
	ips := make([]string, len(p.AllowedIPs))
	for i, ip := range p.AllowedIPs {
		ips[i] = ip.String()
	}
	psk := ""
	if !p.PresharedKey.IsZero() {
		psk = p.PresharedKey.Reveal().String()
	}
	keepalive := effective(n, p).Keepalive
	return agent.PeerBody{PublicKey: p.PublicKey.String(), AllowedIPs: &ips, PresharedKey: &psk, PersistentKeepalive: &keepalive}
}

func sameBody(a, b agent.PeerBody) bool {
	return slices.Equal(*a.AllowedIPs, *b.AllowedIPs) && *a.PresharedKey == *b.PresharedKey && *a.PersistentKeepalive == *b.PersistentKeepalive
}

// withoutKeys are the changes without preshared keys, where those stay as they were.
func withoutKeys(changes []agent.Change, before, after *Peer, now time.Time) ([]agent.Change, bool) {
	if before == nil || after == nil || !before.wanted(now) || before.PublicKey != after.PublicKey || !before.PresharedKey.Equal(after.PresharedKey) {
		return nil, false
	}
	out := slices.Clone(changes)
	for i := range out {
		out[i].PresharedKey = nil
	}
	return out, true
}

// compensate puts the record back after a push that failed, and returns why it did. st is the state before.
func (s *Service) compensate(ctx context.Context, st *nodeState, did revised, c peerChange, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, compensateTimeout)
	defer cancel()
	if err := s.putBack(ctx, st, did, c, cause); err != nil {
		return errors.Join(cause, err)
	}
	e, ok := errors.AsType[*NodeError](cause)
	if ok && e.Code == string(agent.CodeAllowedIPTaken) {
		return &takenOnNodeError{NodeError: e}
	}
	return cause
}

// takenOnNodeError: a peer of the node that the panel does not know holds the prefix (409).
type takenOnNodeError struct{ *NodeError }

func (e *takenOnNodeError) Error() string {
	return e.Reason + "; the panel does not know that peer: reconcile, adopt or remove it"
}

// Unwrap makes errors.Is(err, ErrConflict) true: it is no failure of the node.
func (e *takenOnNodeError) Unwrap() error { return ErrConflict }

// prefixesOnNode reads all allowed IPs that the node has.
func (s *Service) prefixesOnNode(ctx context.Context, nodeID string) ([]netip.Prefix, error) {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return nil, err
	}
	_, on, err := s.peersOn(ctx, st.node)
	if err != nil {
		return nil, err
	}
	var held []netip.Prefix
	for _, p := range on {
		held = append(held, p.AllowedIPs...)
	}
	return held, nil
}
