package panel

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/wgfleet/wgfleet/store"
)

// NodeAuto asks for the best node.
const NodeAuto = "auto"

type candidate struct {
	node Node
	load float64
}

// choose returns the enabled, reachable node below its limit with the lowest load; the older one of
// two that are alike. Nodes that nobody asked yet are asked now, side by side; those that were
// offline when they were last asked are asked again only where no other is left. Those in without
// are left out.
func (s *Service) choose(ctx context.Context, without map[string]bool) (string, error) {
	free, enabled, err := s.freeNodes(ctx)
	if err != nil {
		return "", err
	}
	var unknown, offline []Node
	online := ""
	for _, c := range free {
		if without[c.node.ID] {
			continue
		}
		switch s.health.of(c.node.ID).Health {
		case HealthOnline:
			online = c.node.ID
		case HealthOffline:
			offline = append(offline, c.node)
		default:
			unknown = append(unknown, c.node)
		}
		if online != "" {
			break // the others carry more
		}
	}
	if id := s.firstThatAnswers(ctx, unknown); id != "" {
		return id, nil
	}
	if online != "" {
		return online, nil
	}
	if id := s.firstThatAnswers(ctx, offline); id != "" {
		return id, nil
	}
	return "", conflictf("no node can take a peer: of %d enabled nodes none is reachable and below its max_peers", enabled)
}

// freeNodes lists the enabled nodes below their limit, the lowest load first, and counts all that
// are enabled.
func (s *Service) freeNodes(ctx context.Context) (free []candidate, enabled int, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		free, enabled = nil, 0
		for row, err := range nodeTable.All(tx, "") {
			if err != nil {
				return err
			}
			r := row.Value
			if !r.Enabled {
				continue
			}
			enabled++
			if r.MaxPeers == 0 || r.PeerCount < r.MaxPeers {
				free = append(free, candidate{node: r.node(row.ID, nil), load: load(r)})
			}
		}
		return nil
	})
	slices.SortStableFunc(free, func(a, b candidate) int { return cmp.Compare(a.load, b.load) })
	return free, enabled, err
}

// firstThatAnswers asks all of them side by side; "": none.
func (s *Service) firstThatAnswers(ctx context.Context, nodes []Node) string {
	answered := sideBySide(nodes, s.o.Parallel, func(n Node) bool { return s.poll(ctx, n) })
	if i := slices.Index(answered, true); i >= 0 {
		return nodes[i].ID
	}
	return ""
}

// createAnywhere adds a peer to the best node. Where that one turns out to be full, gone or not to
// answer, and has surely not taken the peer, the next best is tried.
func (s *Service) createAnywhere(ctx context.Context, in PeerInput) (PeerView, error) {
	without := make(map[string]bool)
	var failed error
	for {
		id, err := s.choose(ctx, without)
		if err != nil {
			return PeerView{}, cmp.Or(failed, err)
		}
		v, err := s.createOn(ctx, id, in)
		if err == nil || !tryAnother(err) {
			return v, err
		}
		if failed == nil {
			failed = err
		}
		without[id] = true
	}
}

func tryAnother(err error) bool {
	e, ok := errors.AsType[*NodeError](err)
	return ok && e.untouched || errors.Is(err, errFull) || errors.Is(err, ErrNotFound)
}

// load is (peers / max_peers) / weight, or peers / weight without a limit.
func load(r nodeRecord) float64 {
	l := float64(r.PeerCount) / float64(max(r.Weight, 1))
	if r.MaxPeers > 0 {
		l /= float64(r.MaxPeers)
	}
	return l
}
