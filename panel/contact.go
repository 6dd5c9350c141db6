package panel

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/store"
)

// errDisabled is the sentence of a node that the panel leaves alone.
const errDisabled = "disabled"

// reach returns the agent of a node that may be contacted.
func (s *Service) reach(n Node) (Agent, error) {
	if !n.Enabled {
		return nil, &NodeError{NodeID: n.ID, Code: errDisabled, Reason: errDisabled, untouched: true}
	}
	return s.agents.of(n)
}

// seen is an interface's settings at one interface digest.
type seen struct {
	digest  string
	summary agent.InterfaceSummary
}

// interfaceBook remembers the settings that belong to the last interface digest of each node.
type interfaceBook struct {
	mu     sync.Mutex // protects byNode
	byNode map[string]seen
}

func (b *interfaceBook) get(id, digest string) (agent.InterfaceSummary, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.byNode[id]
	return s.summary, ok && digest != "" && s.digest == digest
}

// last returns the settings last seen, whatever the digest is now.
func (b *interfaceBook) last(id string) (agent.InterfaceSummary, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.byNode[id]
	return s.summary, ok
}

// same reports whether the digest is the last one seen.
func (b *interfaceBook) same(id, digest string) bool {
	_, ok := b.get(id, digest)
	return ok
}

func (b *interfaceBook) put(id string, s agent.InterfaceSummary) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byNode[id] = seen{digest: s.InterfaceDigest, summary: s}
}

func (b *interfaceBook) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byNode, id)
}

// summary reads the interface's settings, from memory where the digest says that they are the same.
func (s *Service) summary(ctx context.Context, n Node, a Agent, digest string) (agent.InterfaceSummary, error) {
	if known, ok := s.interfaces.get(n.ID, digest); ok {
		return known, nil
	}
	got, err := a.Interface(ctx, n.WGInterface)
	if err != nil {
		return got, nodeError(n.ID, err)
	}
	s.interfaces.put(n.ID, got)
	return got, nil
}

// addressesOf returns the interface's own addresses as they were last seen, for those of an
// interface that was taken over need be no wish of the panel. A node that was never looked at is
// asked; one that can't be has none.
func (s *Service) addressesOf(ctx context.Context, n Node) []netip.Prefix {
	sum, ok := s.interfaces.last(n.ID)
	if !ok && s.health.of(n.ID).Health != HealthOffline {
		ctx, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
		defer cancel()
		a, err := s.reach(n)
		if err == nil {
			sum, err = s.summary(ctx, n, a, "")
		}
		if err != nil {
			s.o.Logger.LogAttrs(ctx, slog.LevelDebug, "interface not read before an address is given out", slog.String("node", n.ID), slog.String("error", err.Error()))
			return nil
		}
	}
	var out []netip.Prefix
	for _, text := range sum.Addresses {
		if p, err := engine.ParseAddress(text); err == nil {
			out = append(out, hostOf(p))
		}
	}
	return out
}

// learn keeps what a contact has shown: which agent it is and, where it is not known, the
// interface's public key and port. It moves no revision: nothing desired changes.
func (s *Service) learn(ctx context.Context, n Node, a Agent, got *agent.InterfaceSummary) error {
	id, v2 := a.Identity()
	next := n
	if id != "" {
		next.AgentID, next.SpeaksV2 = id, v2
	}
	if got != nil && got.PublicKey != "" {
		next.SeenPublicKey = got.PublicKey
		next.SeenListenPort = got.ListenPort
	}
	if next.AgentID == n.AgentID && next.SpeaksV2 == n.SpeaksV2 && next.SeenPublicKey == n.SeenPublicKey && next.SeenListenPort == n.SeenListenPort {
		return nil
	}
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, n.ID)
		if err != nil {
			return err
		}
		if r.Trust != n.Trust || r.WGInterface != n.WGInterface {
			return nil // it was told to be another agent meanwhile
		}
		r.AgentID, r.SpeaksV2 = next.AgentID, next.SpeaksV2
		r.SeenPublicKey, r.SeenListenPort = next.SeenPublicKey, next.SeenListenPort
		return nodeTable.Put(tx, n.ID, r)
	})
}

// meet learns the interface's public key where it is not known yet.
func (s *Service) meet(ctx context.Context, n Node, a Agent) error {
	if n.SeenPublicKey != "" {
		return s.learn(ctx, n, a, nil)
	}
	got, err := s.summary(ctx, n, a, "")
	if err != nil {
		return err
	}
	return s.learn(ctx, n, a, &got)
}

// pushTimeout bounds the write of one peer.
const pushTimeout = 30 * time.Second

// push writes some peers to the node, and touches no other.
func (s *Service) push(ctx context.Context, n Node, changes []agent.Change) error {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	a, err := s.reach(n)
	if err != nil {
		return err
	}
	done, err := a.Apply(ctx, n.WGInterface, agent.Apply{Changes: &changes, AllowMassRemoval: true}, client.Write{})
	if err != nil {
		err := nodeError(n.ID, err)
		if e, ok := errors.AsType[*NodeError](err); ok && a.Original() {
			e.untouched = false // it takes the changes one by one: the first may be done
		}
		return err
	}
	if len(done.Failed) > 0 {
		return &NodeError{NodeID: n.ID, Code: string(client.Refused), Reason: done.Failed[0].Error}
	}
	if err := s.meet(ctx, n, a); err != nil {
		// The peer is on the node. What could not be learnt is learnt at the next contact.
		s.o.Logger.LogAttrs(ctx, slog.LevelDebug, "interface not read after a write", slog.String("node", n.ID), slog.String("error", err.Error()))
	}
	return nil
}
