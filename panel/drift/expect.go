package drift

import (
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Expect returns what a device that was seen as o holds after these steps, and nothing else, were
// done. o is not changed.
func Expect(o Observed, done []Step) Observed {
	peers := make(map[wgtypes.Key]Peer, len(o.Peers)+len(done))
	for _, p := range o.Peers {
		peers[p.PublicKey] = p
	}
	for _, s := range done {
		for _, t := range s.Takes {
			from, err := wgtypes.ParseKey(t.From)
			p, ok := peers[from]
			if err != nil || !ok {
				continue
			}
			p.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), func(ip netip.Prefix) bool { return ip == t.Prefix })
			peers[from] = p
		}
	}
	for _, s := range done {
		switch s.Op {
		case OpRemove:
			delete(peers, s.Before.PublicKey)
		case OpAdd, OpUpdate:
			peers[s.After.PublicKey] = *s.After
		}
	}
	out := make([]Peer, 0, len(peers))
	for _, p := range peers {
		out = append(out, p)
	}
	return NewObserved(out, o.Interface)
}
