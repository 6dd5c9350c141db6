package gateway

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// mapping is a socket of the host that stands for one port of a peer (of ICMP: one identifier), whatever
// it talks to: RFC 4787's endpoint-independent mapping. Only addresses that the peer has sent to are let in:
// its address-dependent filtering.
type mapping struct {
	key    mapKey
	socket *socket

	// Protected by the mutex of mappings.
	flows   map[netip.AddrPort]*flow // by destination
	remotes map[netip.Addr]*flow     // one of those with that address
}

type mapKey struct {
	protocol engine.Protocol
	source   netip.AddrPort // of ICMP the port is the identifier
}

// mappings are those that are in use.
type mappings struct {
	mu  sync.RWMutex // protects what follows
	all map[mapKey]*mapping
}

func (t *mappings) start() { t.all = make(map[mapKey]*mapping) }

// find returns the mapping and its flow to that destination; either may be nil.
func (t *mappings) find(key mapKey, dst netip.AddrPort) (*mapping, *flow) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	m := t.all[key]
	if m == nil {
		return nil, nil
	}
	return m, m.flows[dst]
}

// remote returns a flow of m with that address, nil where the peer has sent nothing there.
func (t *mappings) remote(m *mapping, from netip.AddrPort) *flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if f := m.flows[from]; f != nil {
		return f
	}
	return m.remotes[from.Addr()]
}

// add puts a flow into the mapping of its source, which is made where there is none. Whoever made it reads it:
// made reports that.
func (t *mappings) add(key mapKey, f *flow) (m *mapping, made bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m = t.all[key]
	if m == nil {
		s, err := openSocket(key.protocol, key.source.Addr().Is6())
		if err != nil {
			return nil, false, err
		}
		m = &mapping{key: key, socket: s, flows: make(map[netip.AddrPort]*flow), remotes: make(map[netip.Addr]*flow)}
		t.all[key], made = m, true
	}
	m.flows[f.destination], m.remotes[f.destination.Addr()] = f, f
	return m, made, nil
}

// remove is the end of a flow; the last one ends its mapping.
func (t *mappings) remove(key mapKey, f *flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.all[key]
	if m == nil || m.flows[f.destination] != f {
		return // it never was there
	}
	delete(m.flows, f.destination)
	if m.remotes[f.destination.Addr()] == f {
		delete(m.remotes, f.destination.Addr())
		for dst, other := range m.flows {
			if dst.Addr() == f.destination.Addr() {
				m.remotes[dst.Addr()] = other
				break
			}
		}
	}
	if len(m.flows) == 0 {
		delete(t.all, key)
		m.socket.close()
	}
}

// through sends a datagram of a peer to dst, by the mapping of its source. first is the packet's beginning, for who
// has to be told that it went nowhere.
func (g *Gateway) through(key mapKey, dst netip.AddrPort, datagram, first []byte, timeout time.Duration) {
	m, f := g.mappings.find(key, dst)
	if f == nil {
		if m, f = g.mapped(key, dst, first, timeout); f == nil {
			return
		}
	}
	if !f.account.pass(len(datagram)) {
		return
	}
	f.fromPeer(len(datagram))
	if err := m.socket.send(dst, datagram); err != nil {
		if u, known := networkError(err); known {
			u.quote = first
			g.tellPeer(f.account, key.source.Addr(), u)
		}
	}
}

// mapped begins a flow; nil where it is refused, which the peer was told then.
func (g *Gateway) mapped(key mapKey, dst netip.AddrPort, first []byte, timeout time.Duration) (*mapping, *flow) {
	a, known := g.peers.lookup(key.source.Addr())
	if !known {
		return nil, nil
	}
	f := &flow{
		account: a, protocol: key.protocol, direction: engine.DirectionOut, source: key.source, destination: dst, timeout: timeout,
	}
	f.close = func() { g.mappings.remove(key, f) }
	if why := g.begin(f); why != "" {
		if policy(why) {
			g.tellPeer(a, key.source.Addr(), unreachable{kind: prohibited, quote: first})
		}
		return nil, nil
	}
	m, made, err := g.mappings.add(key, f)
	if err != nil {
		f.end()
		g.noSocket(a, key, first, err)
		return nil, nil
	}
	if made && g.enter() {
		go g.listen(m)
	}
	if f.ended() { // while it was added
		g.mappings.remove(key, f)
		return nil, nil
	}
	return m, f
}

// policy reports whether a refusal is the policy's, which the peer is told, and not that of a moment.
func policy(why engine.Refusal) bool {
	switch why {
	case engine.RefusedDenied, engine.RefusedNotListed, engine.RefusedProtected, engine.RefusedOwnPort:
		return true
	}
	return false
}

// noSocket counts that the host gave no socket.
func (g *Gateway) noSocket(a *account, key mapKey, first []byte, err error) {
	if key.protocol == engine.ProtocolICMP && (errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)) {
		if !g.pings.Swap(true) {
			g.log.Warn("peers can't ping beyond this node: the host lets this process send no echo requests",
				"mend", `sysctl -w net.ipv4.ping_group_range="0 2147483647"`)
		}
		a.refuse(RefusedPing)
		g.tellPeer(a, key.source.Addr(), unreachable{kind: prohibited, quote: first})
		return
	}
	a.refuse(RefusedSockets)
}

// networkError is what a peer is told of an error of the host's network.
func networkError(err error) (unreachable, bool) {
	switch {
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EHOSTDOWN):
		return unreachable{kind: noHost}, true
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EINVAL):
		return unreachable{kind: noNetwork}, true
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return unreachable{kind: prohibited}, true
	}
	return unreachable{}, false
}

// listen hands to the peer what comes back, until the mapping ends.
func (g *Gateway) listen(m *mapping) {
	defer g.tasks.Done()
	for {
		a, err := m.socket.receive()
		if err != nil {
			return // closed
		}
		f := g.mappings.remote(m, a.from)
		switch {
		case f == nil: // nobody asked for it
		case a.data == nil:
			g.reported(m, f, a)
		case f.account.pass(a.length):
			g.deliver(m, f, a)
		}
		if a.data != nil {
			buffers.Put(a.data)
		}
	}
}

func (g *Gateway) deliver(m *mapping, f *flow, a arrival) {
	data := a.data[:a.length]
	switch {
	case m.key.protocol == engine.ProtocolUDP:
		f.toPeer(len(data))
		g.datagram(a.from, m.key.source, data)
	case isEchoReply(a.from.Addr(), data):
		f.toPeer(len(data))
		setEchoID(data, m.key.source.Port()) // on the host it is the socket's
		g.icmpMessage(a.from.Addr(), m.key.source.Addr(), data)
	}
}

// reported tells the peer what the network said of a datagram.
func (g *Gateway) reported(m *mapping, f *flow, a arrival) {
	if a.report.kind == (errorKind{}) {
		return
	}
	f.account.failures.Add(1)
	u := unreachable{kind: a.report.kind, from: a.report.by, mtu: a.report.mtu}
	if m.key.protocol == engine.ProtocolUDP {
		u.quote = quoteUDP(m.key.source, a.from)
	} else {
		u.quote = quoteEcho(m.key.source, a.from.Addr())
	}
	g.tellPeer(f.account, m.key.source.Addr(), u)
}
