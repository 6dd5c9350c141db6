package panel

import (
	"cmp"
	"context"
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
// two that are alike. A node that nobody asked yet is asked now; one that was offline when it was
// last asked is asked again only where no other is left.
func (s *Service) choose(ctx context.Context) (string, error) {
	var free []candidate
	enabled := 0
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
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
				free = append(free, candidate{node: r.node(row.ID), load: load(r)})
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	slices.SortStableFunc(free, func(a, b candidate) int { return cmp.Compare(a.load, b.load) })
	for _, offline := range []bool{false, true} {
		for _, c := range free {
			status := s.health.of(c.node.ID)
			if (status.Health == HealthOffline) != offline {
				continue
			}
			if status.Health == HealthOnline || s.poll(ctx, c.node) {
				return c.node.ID, nil
			}
		}
	}
	return "", conflictf("no node can take a peer: of %d enabled nodes none is reachable and below its max_peers", enabled)
}

// load is (peers / max_peers) / weight, or peers / weight without a limit.
func load(r nodeRecord) float64 {
	l := float64(r.PeerCount) / float64(max(r.Weight, 1))
	if r.MaxPeers > 0 {
		l /= float64(r.MaxPeers)
	}
	return l
}
