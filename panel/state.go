package panel

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/ipam"
	"github.com/wgfleet/wgfleet/store"
)

// nodeState is the whole desired state of one node at one revision, and at one time: peers expire. It
// never changes, but for what is computed when first asked for.
type nodeState struct {
	node   Node
	at     time.Time                    // who has expired is judged at this time,
	since  time.Time                    // and is the same since the last one has; zero: none has
	until  time.Time                    // until the next one does; zero: none will
	peers  []*Peer                      // by public key, disabled ones as well
	used   []netip.Prefix               // of all of them, in the order of ipam.Compare
	former map[wgtypes.Key]drift.Former // who left

	once    sync.Once
	desired drift.Desired
}

// drift returns the state as it is compared; mac is of the node's secret.
func (st *nodeState) drift(a Agent) drift.Desired {
	st.once.Do(func() {
		peers := make([]drift.DesiredPeer, 0, len(st.peers))
		for _, p := range st.peers {
			if !p.wanted(st.at) {
				continue
			}
			peers = append(peers, drift.DesiredPeer{
				Peer: drift.Peer{
					PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs, Keepalive: effective(st.node, *p).Keepalive,
					PresharedKey: a.MAC(p.PresharedKey),
				},
				ID: p.ID, Name: p.Name, PSK: p.PresharedKey,
			})
		}
		st.desired = drift.NewDesired(peers, st.node.interfaceWish())
		st.desired.Former = st.formers()
	})
	return st.desired
}

// states keeps the last nodeState of each node.
type states struct {
	mu     sync.Mutex // protects byNode
	byNode map[string]*nodeState
}

func (c *states) get(id string) *nodeState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byNode[id]
}

func (c *states) put(st *nodeState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.byNode[st.node.ID]; old == nil || old.node.Revision <= st.node.Revision {
		c.byNode[st.node.ID] = st
	}
}

func (c *states) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byNode, id)
}

// state returns a node's desired state as it is now. The peers are read from the store only where
// the revision that is known is not the present one.
func (s *Service) state(ctx context.Context, id string) (*nodeState, error) {
	var st *nodeState
	now := s.now()
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, id)
		if err != nil {
			return err
		}
		if st = s.states.get(id); st != nil && st.node.Revision == r.Revision {
			st = st.with(r.node(id, st.node.presets), now) // a change of what it inherits moves its revision
			return nil
		}
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		st = &nodeState{node: r.node(id, ps), at: now}
		for row, err := range peerTable.In(id).All(tx, "") {
			if err != nil {
				return err
			}
			st.insert(row.Value.peer(id, row.ID))
		}
		st.sort()
		st.former, err = formersOf(tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.states.put(st)
	return st, nil
}

// with returns the state with the node as it is now. What was learnt of a node does not move its
// revision, and neither does a peer that expires.
func (st *nodeState) with(n Node, now time.Time) *nodeState {
	if st.holds(now) && st.node.SeenPublicKey == n.SeenPublicKey && st.node.SeenListenPort == n.SeenListenPort &&
		st.node.AgentID == n.AgentID && st.node.SpeaksV2 == n.SpeaksV2 {
		return st
	}
	next := &nodeState{node: n, at: now, peers: st.peers, used: st.used, former: st.former}
	next.span()
	return next
}

// holds reports whether the same peers are expired at that time; a clock can be put back.
func (st *nodeState) holds(now time.Time) bool {
	return !now.Before(st.since) && (st.until.IsZero() || now.Before(st.until))
}

// span finds out for how long the same peers are expired.
func (st *nodeState) span() {
	for _, p := range st.peers {
		switch e := p.ExpiresAt; {
		case e.IsZero():
		case p.expired(st.at):
			if e.After(st.since) {
				st.since = e
			}
		case st.until.IsZero() || e.Before(st.until):
			st.until = e
		}
	}
}

func (st *nodeState) insert(p Peer) {
	st.peers = append(st.peers, &p)
	st.used = append(st.used, p.AllowedIPs...)
}

func (st *nodeState) sort() {
	slices.SortFunc(st.peers, comparePeers)
	slices.SortFunc(st.used, ipam.Compare)
	st.span()
}

func comparePeers(a, b *Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) }

// patched returns the state at the next revision, with some peers changed.
func (st *nodeState) patched(n Node, changes []peerChange, at time.Time) *nodeState {
	next := &nodeState{node: n, at: at, peers: slices.Clone(st.peers), used: slices.Clone(st.used), former: turned(st.former, changes, at)}
	for _, c := range changes {
		if c.before != nil {
			next.remove(c.before)
		}
	}
	for _, c := range changes {
		if c.after != nil {
			i, _ := slices.BinarySearchFunc(next.peers, c.after, comparePeers)
			next.peers = slices.Insert(next.peers, i, c.after)
			for _, ip := range c.after.AllowedIPs {
				i, _ := slices.BinarySearchFunc(next.used, ip, ipam.Compare)
				next.used = slices.Insert(next.used, i, ip)
			}
		}
	}
	next.span()
	return next
}

func (st *nodeState) remove(p *Peer) {
	if i, ok := slices.BinarySearchFunc(st.peers, p, comparePeers); ok {
		st.peers = slices.Delete(st.peers, i, i+1)
	}
	for _, ip := range p.AllowedIPs {
		if i, ok := slices.BinarySearchFunc(st.used, ip, ipam.Compare); ok {
			st.used = slices.Delete(st.used, i, i+1)
		}
	}
}

// nested returns other peers' prefixes that hold ip or lie within it.
func (st *nodeState) nested(ip netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for bits := range ip.Bits() { // wider ones: at most one of each length
		wide := netip.PrefixFrom(ip.Addr(), bits).Masked()
		if _, ok := slices.BinarySearchFunc(st.used, wide, ipam.Compare); ok {
			out = append(out, wide)
		}
	}
	i, _ := slices.BinarySearchFunc(st.used, ip, ipam.Compare)
	for _, other := range st.used[i:] {
		if !ip.Contains(other.Addr()) || len(out) == 8 {
			break
		}
		if other != ip {
			out = append(out, other)
		}
	}
	return out
}
