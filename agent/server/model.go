package server

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// patchLimit is how many changes are worked into the sorted lines of a digest one by one; after more
// they are made anew.
const patchLimit = 64

// model is what a device holds at one moment. It never changes, but for the digests that are
// computed when first asked for.
type model struct {
	state    engine.State // normalized
	revision uint64       // of an owned device
	stands   bool         // revision is known to belong to state

	interfaceDigest string

	mu      sync.Mutex // protects digests
	digests map[engine.MACKey]*lines
}

// same reports whether both hold the same configuration.
func (m *model) same(o *model) bool {
	if m == nil || m == o {
		return m == o
	}
	return m.interfaceDigest == o.interfaceDigest &&
		len(engine.DiffPeers(o.state.Peers, withoutEndpoints(m.state.Peers), engine.DiffOptions{RemoveUnknown: true})) == 0
}

// lines are the lines of a digest, sorted, and the digest once it was asked for.
type lines struct {
	sorted []string
	digest string
}

func newModel(state engine.State) *model {
	return &model{
		state: state, interfaceDigest: engine.InterfaceDigest(state.Interface),
		digests: make(map[engine.MACKey]*lines),
	}
}

// digest returns the digest of the peers under a key.
func (m *model) digest(k engine.MACKey) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, known := m.digests[k]
	if !known {
		l = newLines(m.state.Peers, k)
		m.digests[k] = l
	}
	if l.digest == "" {
		l.digest = l.sum()
	}
	return l.digest
}

func newLines(peers []engine.Peer, k engine.MACKey) *lines {
	l := &lines{sorted: make([]string, len(peers))}
	var buf []byte
	for i, p := range peers {
		buf = engine.AppendDigestLine(buf[:0], p, k.MAC(p.PresharedKey))
		l.sorted[i] = string(buf)
	}
	slices.Sort(l.sorted)
	return l
}

func (l *lines) sum() string {
	h := sha256.New()
	buf := make([]byte, 0, 32<<10)
	for _, s := range l.sorted {
		if len(buf)+len(s) > cap(buf) {
			h.Write(buf)
			buf = buf[:0]
		}
		buf = append(buf, s...)
	}
	h.Write(buf)
	return hex.EncodeToString(h.Sum(nil))
}

// patched returns the model after the changes. It costs a copy and no more than the changes need.
func (m *model) patched(c engine.Changes) *model {
	state := m.state
	if c.Interface != nil {
		state.Interface = c.Interface.After
		state.Interface.Addresses = engine.NormalizeAddresses(state.Interface.Addresses)
	}
	state.Peers = engine.Patch(m.state.Peers, c.Peers)
	n := newModel(state)
	if len(c.Peers) > patchLimit {
		return n
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, l := range m.digests {
		n.digests[k] = l.patched(c.Peers, k)
	}
	return n
}

func (l *lines) patched(changes []engine.PeerChange, k engine.MACKey) *lines {
	sorted := make([]string, len(l.sorted), len(l.sorted)+len(changes))
	copy(sorted, l.sorted)
	for _, c := range changes {
		if c.Before != nil {
			line := engine.AppendDigestLine(nil, *c.Before, k.MAC(c.Before.PresharedKey))
			if i, found := slices.BinarySearch(sorted, string(line)); found {
				sorted = slices.Delete(sorted, i, i+1)
			}
		}
		if c.After != nil {
			line := string(engine.AppendDigestLine(nil, *c.After, k.MAC(c.After.PresharedKey)))
			i, _ := slices.BinarySearchFunc(sorted, line, strings.Compare)
			sorted = slices.Insert(sorted, i, line)
		}
	}
	return &lines{sorted: sorted}
}

// holders says which peer holds a prefix in one model. Only who has the slot touches it.
type holders struct {
	of     *model
	prefix map[netip.Prefix]wgtypes.Key
}

// sync makes the index that of m.
func (h *holders) sync(m *model) {
	if h.of == m {
		return
	}
	h.of, h.prefix = m, make(map[netip.Prefix]wgtypes.Key, len(m.state.Peers))
	for _, p := range m.state.Peers {
		for _, ip := range p.AllowedIPs {
			h.prefix[ip] = p.PublicKey
		}
	}
}

// follow moves the index from before the changes to after them.
func (h *holders) follow(changes []engine.PeerChange, after *model) {
	for _, c := range changes {
		if c.Before == nil {
			continue
		}
		for _, ip := range c.Before.AllowedIPs {
			delete(h.prefix, ip)
		}
	}
	for _, c := range changes {
		if c.After == nil {
			continue
		}
		for _, ip := range c.After.AllowedIPs {
			h.prefix[ip] = c.After.PublicKey
		}
	}
	h.of = after
}

// judge refuses changes that would make a state that engine.Validate refuses; it looks at the
// changes alone. The index must be that of before.
func (h *holders) judge(before engine.State, c engine.Changes) error {
	own := before.Interface.PrivateKey.PublicKey()
	if c.Interface != nil {
		if err := engine.ValidateInterface(c.Interface.After); err != nil {
			return err
		}
		own = c.Interface.After.PrivateKey.PublicKey()
		if _, peer := engine.Lookup(engine.Patch(before.Peers, c.Peers), own); peer {
			return &engine.FieldError{Field: "private_key", Reason: "a peer of this interface has this key"}
		}
	}
	added, _, removed := c.Count()
	if n := len(before.Peers) + added - removed; n > engine.MaxPeers {
		return &engine.FieldError{Field: "peers", Reason: "an interface holds 65536 peers at most"}
	}
	after := make(map[wgtypes.Key]*engine.Peer, len(c.Peers))
	for _, p := range c.Peers {
		after[p.Key()] = p.After
	}
	taken := make(map[netip.Prefix]wgtypes.Key)
	for _, change := range c.Peers {
		p := change.After
		if p == nil {
			continue
		}
		if err := engine.ValidatePeer(*p); err != nil {
			return err
		}
		if p.PublicKey == own {
			return &engine.FieldError{Peer: p.PublicKey, Field: "public_key", Reason: "this is the interface's own key"}
		}
		for _, ip := range p.AllowedIPs {
			holder, held := h.holderAfter(ip, p.PublicKey, after)
			if other, twice := taken[ip]; twice && !held {
				holder, held = other, true
			}
			if held {
				return &engine.ConflictError{Prefix: ip, Holder: holder, Wanted: p.PublicKey}
			}
			taken[ip] = p.PublicKey
		}
	}
	return nil
}

// holderAfter returns the other peer that holds ip now and still would after the changes.
func (h *holders) holderAfter(ip netip.Prefix, key wgtypes.Key, after map[wgtypes.Key]*engine.Peer) (wgtypes.Key, bool) {
	holder, held := h.prefix[ip]
	if !held || holder == key {
		return holder, false
	}
	p, changed := after[holder]
	if !changed {
		return holder, true
	}
	return holder, p != nil && slices.Contains(p.AllowedIPs, ip)
}
