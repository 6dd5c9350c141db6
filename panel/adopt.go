package panel

import (
	"context"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// adopt takes unknown peers into the panel as they are on the node, less what the steps that were
// done took from them. The node is not written to. It returns the steps that worked.
func (r *reconciler) adopt(ctx context.Context, st *nodeState, l look, done []drift.Step) []drift.Step {
	lost := make(map[string][]netip.Prefix)
	for _, s := range done {
		for _, t := range s.Takes {
			lost[t.From] = append(lost[t.From], t.Prefix)
		}
	}
	psks := make(map[wgtypes.Key]client.Peer, len(l.snapshot.Peers))
	for _, p := range l.snapshot.Peers {
		psks[p.PublicKey] = p
	}
	var adopted []drift.Step
	for _, s := range r.result.Plan.Steps {
		if s.Op != drift.OpAdopt {
			continue
		}
		next, err := r.s.adoptPeer(ctx, st, *s.Before, psks[s.Before.PublicKey].PresharedKey, lost[s.PublicKey])
		if err != nil {
			r.fail(s.PublicKey, s.Op, reasonOf(err))
			continue
		}
		st = next
		adopted = append(adopted, s)
	}
	r.note(adopted)
	return adopted
}

func (s *Service) adoptPeer(ctx context.Context, st *nodeState, seen drift.Peer, psk engine.SecretKey, lost []netip.Prefix) (*nodeState, error) {
	if seen.PresharedKey != "" && psk.IsZero() {
		return st, conflictf("its preshared key is hidden: adopt it over https, or let the agent show its secrets")
	}
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return st, err
	}
	p := Peer{
		ID: id, NodeID: st.node.ID, Name: defaultName("adopted", seen.PublicKey), PublicKey: seen.PublicKey, PresharedKey: psk,
		AllowedIPs: slices.DeleteFunc(slices.Clone(seen.AllowedIPs), func(ip netip.Prefix) bool { return slices.Contains(lost, ip) }),
		Keepalive:  &seen.Keepalive, Enabled: true, CreatedAt: now, UpdatedAt: now,
	}
	n, err := s.storePeers(ctx, st.node.ID, []peerChange{{after: &p}}, false)
	if err != nil {
		return st, err
	}
	return s.follow(st, n, peerChange{after: &p}), nil
}
