package panel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
)

// settle finds out what became of a push that failed, for an answer can be lost after the agent has
// done what it was asked. nil: the node has the change. Otherwise it returns the cause, with a
// sentence added where the node may not be as it was.
func (s *Service) settle(ctx context.Context, n Node, before, after *Peer, cause error) error {
	e, ok := errors.AsType[*NodeError](cause)
	if !ok || e.untouched {
		return cause
	}
	told := *e
	a, on, err := s.peersOn(ctx, n)
	switch {
	case err != nil:
		told.Reason += "; the node may have the change, for it could not be asked since: drift will show it"
	case stands(n, a, on, after, before, s.now()):
		s.o.Logger.InfoContext(ctx, "an answer was lost, but the node has the change", "node", n.ID, "error", e.Error())
		return nil
	case stands(n, a, on, before, after, s.now()):
		told.untouched = true
	default:
		told.Reason += "; the node has the peer neither as it was nor as it should have become: drift shows it"
	}
	return &told
}

// peersOn reads the peers that the node has, now.
func (s *Service) peersOn(ctx context.Context, n Node) (Agent, []client.Peer, error) {
	a, err := s.reach(n)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
	defer cancel()
	dump, err := a.Dump(ctx, n.WGInterface, client.Query{})
	return a, dump.Peers, nodeError(n.ID, err)
}

// stands reports whether the node has the peer as p, and nothing under the key of other. nil: not
// at all.
func stands(n Node, a Agent, on []client.Peer, p, other *Peer, now time.Time) bool {
	if p == nil || !p.wanted(now) {
		return absent(on, p) && absent(on, other)
	}
	if other != nil && other.PublicKey != p.PublicKey && !absent(on, other) {
		return false
	}
	i := slices.IndexFunc(on, func(c client.Peer) bool { return c.PublicKey == p.PublicKey })
	return i >= 0 && on[i].PresharedKeyMAC == a.MAC(p.PresharedKey) &&
		on[i].PersistentKeepalive == effective(n, *p).Keepalive &&
		slices.Equal(engine.NormalizePrefixes(on[i].AllowedIPs), engine.NormalizePrefixes(p.AllowedIPs))
}

func absent(on []client.Peer, p *Peer) bool {
	return p == nil || !slices.ContainsFunc(on, func(c client.Peer) bool { return c.PublicKey == p.PublicKey })
}
