package panel

import (
	"context"
	"net/netip"
	"strings"

	"github.com/wgfleet/wgfleet/store"
)

// Kinds of a Source. Of those before SourceDefault the first that gives a value wins.
const (
	SourcePeer         = "peer"
	SourcePeerTemplate = "peer_template"
	SourceNode         = "node"
	SourceTemplate     = "template" // the node's
	SourceGroup        = "group"
	SourceDefault      = "default"  // the panel's
	SourceObserved     = "observed" // what the node was last seen to have, where the panel has no wish
)

// Source is a place that gives a value; ID and Name are of the peer, node, template or group.
type Source struct{ Kind, ID, Name string }

// Origin is a value with where it comes from.
type Origin struct {
	Value any // string, int, agent.Hooks, or nil
	Source
}

// EffectiveField is a setting as it holds, and what it was chosen over.
type EffectiveField struct {
	Field string
	Origin
	Overridden []Origin // the one that would win next first; the panel's default last
}

// EffectiveSettings says of each setting of a node, or with a peer's id of that peer, where it comes from.
func (s *Service) EffectiveSettings(ctx context.Context, nodeID, peerID string) ([]EffectiveField, error) {
	var fields []EffectiveField
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, nodeID)
		if err != nil {
			return err
		}
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		n, p := r.node(nodeID, ps), Peer{}
		if peerID != "" {
			if p, err = getPeer(tx, n, peerID); err != nil {
				return err
			}
		}
		fields = origins(n, p)
		return nil
	})
	return fields, err
}

// origins are the settings of a peer of n, or with the empty one those of n itself.
func origins(n Node, p Peer) []EffectiveField {
	layers, sources := n.layers(p), n.sources(p)
	offers := func(get func(Values) any) []Origin {
		var out []Origin
		for i, l := range layers {
			out = offer(out, get(l), sources[i])
		}
		return out
	}
	self, template := sources[2], sources[3]
	var port, hooks, pools, endpoint []Origin
	port = offer(port, given(n.Overrides.ListenPort), self)
	port = offer(port, given(n.Wish.ListenPort), self)
	if n.SeenListenPort != 0 {
		port = offer(port, n.SeenListenPort, Source{Kind: SourceObserved})
	}
	hooks = offer(hooks, given(n.Wish.Hooks), self)
	hooks = offer(hooks, given(n.presets.template(n.TemplateID).Hooks), template)
	pools = offer(pools, poolText(n.IPPools), self)
	pools = offer(pools, poolText(n.presets.template(n.TemplateID).IPPools), template)
	if e := n.dialed(); e != "" {
		endpoint = offer(endpoint, e, self)
	}
	return []EffectiveField{
		chosen("dns", offers(func(v Values) any { return given(v.DNS) }), DefaultDNS),
		chosen("mtu", offers(func(v Values) any { return given(v.MTU) }), DefaultMTU),
		chosen("keepalive", offers(func(v Values) any { return given(v.Keepalive) }), DefaultKeepalive),
		chosen("endpoint_allowed_ip", offers(func(v Values) any { return given(v.EndpointAllowedIP) }), DefaultEndpointAllowedIP),
		chosen("listen_port", port, nil),
		chosen("hooks", hooks, nil),
		chosen("ip_pool_cidr", pools, ""),
		chosen("endpoint", endpoint, ""),
	}
}

// sources name the layers, in their order.
func (n Node) sources(p Peer) [5]Source {
	return [...]Source{
		{SourcePeer, p.ID, p.Name},
		{SourcePeerTemplate, p.TemplateID, n.presets.template(p.TemplateID).Name},
		{SourceNode, n.ID, n.Name},
		{SourceTemplate, n.TemplateID, n.presets.template(n.TemplateID).Name},
		{SourceGroup, n.GroupID, n.presets.groupName(n.GroupID)},
	}
}

// given is what a pointer points to, nil for nil.
func given[T any](v *T) any {
	if v == nil {
		return nil
	}
	return *v
}

func poolText(pools []netip.Prefix) any {
	if len(pools) == 0 {
		return nil
	}
	parts := make([]string, len(pools))
	for i, p := range pools {
		parts[i] = p.String()
	}
	return strings.Join(parts, ", ")
}

func offer(list []Origin, v any, from Source) []Origin {
	if v == nil {
		return list
	}
	return append(list, Origin{Value: v, Source: from})
}

// chosen takes the first offer; the default is behind all. nil is no default.
func chosen(field string, offers []Origin, byDefault any) EffectiveField {
	if byDefault != nil || len(offers) == 0 {
		offers = append(offers, Origin{Value: byDefault, Source: Source{Kind: SourceDefault}})
	}
	return EffectiveField{Field: field, Origin: offers[0], Overridden: offers[1:]}
}
