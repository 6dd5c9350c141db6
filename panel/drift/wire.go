package drift

import (
	"maps"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
)

// Groups splits the steps that write to the node into sets that can be done one without the other:
// where an allowed IP moves between two of them, both are in one set.
func (p Plan) Groups() [][]Step {
	group := make(map[string]string, len(p.Steps)) // public key → its group's first
	var find func(string) string
	find = func(k string) string {
		if parent := group[k]; parent != k && parent != "" {
			group[k] = find(parent)
			return group[k]
		}
		return k
	}
	for _, s := range p.Steps {
		if !s.onNode() {
			continue
		}
		for k := range s.need {
			if a, b := find(s.PublicKey), find(k.String()); a != b {
				group[b] = a
			}
		}
		for _, t := range s.Takes { // takers from one peer shrink it together
			if a, b := find(s.PublicKey), find(t.From); a != b {
				group[b] = a
			}
		}
	}
	var order []string
	sets := make(map[string][]Step)
	for _, s := range p.Steps {
		if !s.onNode() {
			continue
		}
		g := find(s.PublicKey)
		if _, seen := sets[g]; !seen {
			order = append(order, g)
		}
		sets[g] = append(sets[g], s)
	}
	out := make([][]Step, len(order))
	for i, g := range order {
		out[i] = sets[g]
	}
	return out
}

// Changes are the steps as an agent takes them. Only what differs is sent of a peer that is there,
// so that a preshared key travels only where it is news.
func (p Plan) Changes(steps []Step) []agent.Change {
	shrunk := p.shrink(steps)
	out := make([]agent.Change, 0, len(steps)+len(shrunk))
	for _, key := range slices.SortedFunc(maps.Keys(shrunk), func(a, b wgtypes.Key) int { return slices.Compare(a[:], b[:]) }) {
		left := Texts(shrunk[key])
		out = append(out, agent.Change{Op: agent.OpPut, PeerBody: agent.PeerBody{PublicKey: key.String(), AllowedIPs: &left}})
	}
	for _, s := range steps {
		switch s.Op {
		case OpRemove:
			out = append(out, agent.Change{Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: s.PublicKey}})
		case OpAdd, OpUpdate:
			c := agent.Change{Op: agent.OpPut, PeerBody: s.body()}
			if len(s.Takes) > 0 {
				from := s.Takes[0].From
				if key, err := wgtypes.ParseKey(from); err == nil && shrunk[key] == nil {
					c.TakeFrom = &from
				}
			}
			out = append(out, c)
		}
	}
	return out
}

// shrink returns what is left to the peers that can't be named by take_from, since a change names
// one peer alone.
func (p Plan) shrink(steps []Step) map[wgtypes.Key][]netip.Prefix {
	loses := make(map[string][]netip.Prefix)
	many := make(map[string]bool)
	for _, s := range steps {
		for _, t := range s.Takes {
			loses[t.From] = append(loses[t.From], t.Prefix)
			if t.From != s.Takes[0].From {
				many[t.From], many[s.Takes[0].From] = true, true
			}
		}
	}
	out := make(map[wgtypes.Key][]netip.Prefix, len(many))
	for key, ips := range p.kept {
		if from := key.String(); many[from] {
			out[key] = slices.DeleteFunc(slices.Clone(ips), func(ip netip.Prefix) bool { return slices.Contains(loses[from], ip) })
		}
	}
	return out
}

func (s Step) body() agent.PeerBody {
	b := agent.PeerBody{PublicKey: s.PublicKey}
	if s.Before == nil || !slices.Equal(s.Before.AllowedIPs, s.After.AllowedIPs) {
		ips := Texts(s.After.AllowedIPs)
		b.AllowedIPs = &ips
	}
	if s.Before == nil || s.Before.Keepalive != s.After.Keepalive {
		b.PersistentKeepalive = &s.After.Keepalive
	}
	if s.Before == nil && !s.psk.IsZero() || s.Before != nil && s.Before.PresharedKey != s.After.PresharedKey {
		psk := ""
		if !s.psk.IsZero() {
			psk = s.psk.Reveal().String()
		}
		b.PresharedKey = &psk
	}
	return b
}

// onNode reports whether the step writes a peer of the node.
func (s Step) onNode() bool { return s.Op == OpRemove || s.Op == OpUpdate || s.Op == OpAdd }
