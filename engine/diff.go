package engine

import (
	"bytes"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// PeerChange is one step. Before nil: the peer is added. After nil: it is removed.
type PeerChange struct {
	Before *Peer
	After  *Peer
}

// Key is the public key of the peer that changes.
func (c PeerChange) Key() wgtypes.Key {
	if c.After != nil {
		return c.After.PublicKey
	}
	return c.Before.PublicKey
}

// InterfaceChange replaces the settings of the interface.
type InterfaceChange struct {
	Before Interface
	After  Interface
}

// Changes is the difference between two states of one device: what to do, in this order.
type Changes struct {
	Interface *InterfaceChange // nil: stays as it is
	Peers     []PeerChange     // removals first, then by key
}

// Empty reports whether there is nothing to do.
func (c Changes) Empty() bool { return c.Interface == nil && len(c.Peers) == 0 }

// Count returns how many peers are added, updated and removed.
func (c Changes) Count() (added, updated, removed int) {
	for _, p := range c.Peers {
		switch {
		case p.Before == nil:
			added++
		case p.After == nil:
			removed++
		default:
			updated++
		}
	}
	return added, updated, removed
}

// DiffOptions says how far Diff may go.
type DiffOptions struct {
	RemoveUnknown bool // peers that are not desired are removed; default: kept
}

// SamePeer reports whether two normalized peers are configured alike. An endpoint counts only
// where want names one: peers roam.
func SamePeer(have, want Peer) bool {
	return have.PublicKey == want.PublicKey &&
		have.PersistentKeepalive == want.PersistentKeepalive &&
		have.PresharedKey.Equal(want.PresharedKey) &&
		slices.Equal(have.AllowedIPs, want.AllowedIPs) &&
		(!want.Endpoint.IsValid() || have.Endpoint == want.Endpoint)
}

// DiffPeers returns the steps from have to want, both normalized. A peer that is as wanted is not
// in it.
func DiffPeers(have, want []Peer, o DiffOptions) []PeerChange {
	var removed, changed []PeerChange
	i, j := 0, 0
	for i < len(have) || j < len(want) {
		switch order := compareAt(have, i, want, j); {
		case order < 0:
			if o.RemoveUnknown {
				removed = append(removed, PeerChange{Before: &have[i]})
			}
			i++
		case order > 0:
			changed = append(changed, PeerChange{After: &want[j]})
			j++
		default:
			if !SamePeer(have[i], want[j]) {
				changed = append(changed, PeerChange{Before: &have[i], After: &want[j]})
			}
			i, j = i+1, j+1
		}
	}
	return append(removed, changed...)
}

func compareAt(have []Peer, i int, want []Peer, j int) int {
	switch {
	case i == len(have):
		return 1
	case j == len(want):
		return -1
	}
	return bytes.Compare(have[i].PublicKey[:], want[j].PublicKey[:])
}

// Diff is DiffPeers and the interface's settings. A wanted port or MTU of 0 leaves the choice to the
// device, so whatever it has is as wanted.
func Diff(have, want State, o DiffOptions) Changes {
	c := Changes{Peers: DiffPeers(have.Peers, want.Peers, o)}
	want.Interface = settled(want.Interface, have.Interface)
	if !sameInterface(have.Interface, want.Interface) {
		c.Interface = &InterfaceChange{Before: have.Interface, After: want.Interface}
	}
	return c
}

func sameInterface(a, b Interface) bool {
	return a.PrivateKey.Equal(b.PrivateKey) && a.ListenPort == b.ListenPort && a.FwMark == b.FwMark &&
		a.MTU == b.MTU && slices.Equal(NormalizeAddresses(a.Addresses), NormalizeAddresses(b.Addresses))
}

// Patch returns the peers after the changes, each of another peer. Both are normalized and stay as
// they are. As on a device, a change that names no endpoint leaves the one that is known.
func Patch(peers []Peer, changes []PeerChange) []Peer {
	changes = slices.Clone(changes)
	slices.SortFunc(changes, func(a, b PeerChange) int {
		x, y := a.Key(), b.Key()
		return bytes.Compare(x[:], y[:])
	})
	out := make([]Peer, 0, len(peers)+len(changes))
	for _, c := range changes {
		i, found := searchPeer(peers, c.Key())
		out = append(out, peers[:i]...)
		peers = peers[i:]
		if c.After != nil {
			out = append(out, *c.After)
		}
		if !found {
			continue
		}
		if c.After != nil && !c.After.Endpoint.IsValid() {
			out[len(out)-1].Endpoint = peers[0].Endpoint
		}
		peers = peers[1:]
	}
	return append(out, peers...)
}
