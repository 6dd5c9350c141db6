package gateway

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/wgfleet/wgfleet/engine"
)

// published is a UDP port of the host that leads to a peer: a session for each address that sends to it.
type published struct {
	g      *Gateway
	host   net.PacketConn
	target netip.AddrPort

	mu       sync.Mutex // protects sessions
	sessions map[netip.AddrPort]*session
}

// session is a port of the node, inside the tunnel, that stands for one sender.
type session struct {
	flow *flow
	peer net.Conn
}

func (g *Gateway) servePublishedUDP(ctx context.Context, c net.PacketConn, target netip.AddrPort) {
	p := &published{g: g, host: c, target: target, sessions: make(map[netip.AddrPort]*session)}
	b := make([]byte, bufferSize)
	for {
		n, from, err := c.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			p.end()
			return
		case err != nil:
			continue // of a datagram that was sent before
		}
		src := addrPortOf(from)
		s := p.session(src, from)
		if s == nil || !s.flow.account.pass(n) {
			continue
		}
		s.flow.toPeer(n)
		_, _ = s.peer.Write(b[:n]) // lost as any datagram may be
	}
}

// session returns that of a sender; nil where it is refused.
func (p *published) session(src netip.AddrPort, from net.Addr) *session {
	p.mu.Lock()
	s := p.sessions[src]
	p.mu.Unlock()
	if s != nil {
		return s
	}
	a, known := p.g.peers.lookup(p.target.Addr())
	if !known {
		return nil
	}
	peer, err := p.g.dev.Net().DialUDPAddrPort(netip.AddrPort{}, p.target)
	if err != nil {
		return nil // no port is left: the sender sends again
	}
	s = &session{peer: peer, flow: &flow{
		account: a, protocol: engine.ProtocolUDP, direction: engine.DirectionIn, source: src, destination: p.target, timeout: p.g.o.Timeouts.UDP,
	}}
	s.flow.close = func() { p.remove(src, s) }
	if p.g.begin(s.flow) != "" {
		peer.Close()
		return nil
	}
	p.mu.Lock()
	p.sessions[src] = s
	p.mu.Unlock()
	p.g.tasks.Go(func() { p.answer(s, from) })
	if s.flow.ended() { // while it was added
		p.remove(src, s)
	}
	return s
}

// end ends all sessions.
func (p *published) end() {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.sessions))
	p.mu.Unlock()
	for _, s := range all {
		s.flow.end()
	}
}

func (p *published) remove(src netip.AddrPort, s *session) {
	p.mu.Lock()
	if p.sessions[src] == s {
		delete(p.sessions, src)
	}
	p.mu.Unlock()
	s.peer.Close()
}

// answer hands the peer's datagrams to the sender until the session ends.
func (p *published) answer(s *session, to net.Addr) {
	b := make([]byte, bufferSize)
	for {
		n, err := s.peer.Read(b)
		if err != nil {
			return
		}
		if !s.flow.account.pass(n) {
			continue
		}
		s.flow.fromPeer(n)
		_, _ = p.host.WriteTo(b[:n], to) // lost as any datagram may be
	}
}
