package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

const (
	// maxDialing bounds the connections that the host's network has not answered yet, of all peers together.
	maxDialing = 16384
	// maxPeerDialing is that of one peer, so that a port scan of silence leaves room for others.
	maxPeerDialing = 512
	abortAgain     = 10 * time.Millisecond
	// receiveWindow is what a peer may have under way: 3 MiB are 2.5 Gbit/s over 10 ms, which a busy tunnel takes. make bench-net: with
	// 2 MiB one upload has 0.83 of the TUN path, with 3 0.93.
	receiveWindow = 3 << 20
)

// dialing are the TCP connections that the host's network has not answered yet. A SYN that comes again is
// one of them, no new one.
type dialing struct {
	mu  sync.Mutex // protects all
	all map[stack.TransportEndpointID]*dial
}

// dial is one of them.
type dial struct {
	flow  *flow
	quote []byte          // of the SYN
	ctx   context.Context // ends with the flow
}

func (d *dialing) start() { d.all = make(map[stack.TransportEndpointID]*dial) }

// add reports whether there is room for one more.
func (d *dialing) add(id stack.TransportEndpointID, one *dial) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.all) >= maxDialing {
		return false
	}
	d.all[id] = one
	return true
}

func (d *dialing) get(id stack.TransportEndpointID) *dial {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all[id]
}

func (d *dialing) remove(id stack.TransportEndpointID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, id)
}

// handleTCP gets the segments that no connection here waits for. Where it returns false the stack answers with a reset.
func (g *Gateway) handleTCP(forwarder *tcp.Forwarder, id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	src, dst := addrPort(id.RemoteAddress, id.RemotePort), addrPort(id.LocalAddress, id.LocalPort)
	flags := header.TCP(pkt.TransportHeader().Slice()).Flags()
	if g.isOwn(dst.Addr()) || flags&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) != header.TCPFlagSyn {
		return false
	}
	a, known := g.peers.lookup(src.Addr())
	if !known || g.dialing.get(id) != nil {
		return true
	}
	if a.dialing.Load() >= maxPeerDialing {
		a.refuse(RefusedDialing)
		return true // the SYN comes again
	}
	d := &dial{quote: quoteOf(pkt), flow: &flow{
		account: a, protocol: engine.ProtocolTCP, direction: engine.DirectionOut, source: src, destination: dst,
	}}
	d.ctx, d.flow.close = context.WithCancel(g.running)
	if why := g.begin(d.flow); why != "" {
		d.flow.close()
		return g.turnAway(d, why)
	}
	if !g.dialing.add(id, d) || !g.enter() {
		g.dialing.remove(id)
		a.refuse(RefusedDialing)
		d.flow.end()
		return true
	}
	a.dialing.Add(1)
	return forwarder.HandlePacket(id, pkt) // which calls connect
}

// turnAway tells a peer that its SYN is refused, and reports whether that is all that is to be said.
func (g *Gateway) turnAway(d *dial, why engine.Refusal) bool {
	switch why {
	case RefusedRate, RefusedStarting:
		return true // the SYN comes again
	case RefusedConnections, RefusedMemory:
		return false
	}
	g.tellPeer(d.flow.account, d.flow.source.Addr(), unreachable{kind: prohibited, quote: d.quote})
	return true
}

// connect dials first and completes the peer's handshake after, so that the peer sees of the destination what is there.
func (g *Gateway) connect(r *tcp.ForwarderRequest) {
	defer g.tasks.Done()
	id := r.ID()
	d := g.dialing.get(id)
	host, err := g.dial(d.ctx, d.flow.destination)
	var s *stream
	if err == nil {
		s, err = g.accept(d.ctx, r, host)
	}
	refused := false
	if err != nil {
		refused = g.failed(d, err)
		d.flow.end() // before the peer hears of it and tries again
	}
	r.Complete(refused)
	g.dialing.remove(id)
	d.flow.account.dialing.Add(-1)
	if err == nil {
		s.carry(d.ctx, d.flow)
		d.flow.end()
	}
}

// dial reaches the host's network.
func (g *Gateway) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, g.o.Timeouts.Dial)
	defer cancel()
	c, err := g.o.Dial(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	host, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, errors.ErrUnsupported
	}
	return host, nil
}

// accept completes the peer's handshake. Where the peer gives up, or the flow ends before, host is reset.
func (g *Gateway) accept(ctx context.Context, r *tcp.ForwarderRequest, host *net.TCPConn) (*stream, error) {
	s, done := &stream{host: host}, make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { g.watchHandshake(ctx, r.ID(), done) })
	ep, err := r.CreateEndpoint(&s.queue)
	close(done)
	watch.Wait()
	if err != nil {
		reset(host)
		return nil, errGivenUp
	}
	s.peer = ep
	return s, nil
}

// watchHandshake aborts a handshake when ctx ends: the stack has no other way to, and would try for a minute.
func (g *Gateway) watchHandshake(ctx context.Context, id stack.TransportEndpointID, done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	again := time.NewTicker(abortAgain)
	defer again.Stop()
	for {
		if ep := g.stack.FindTransportEndpoint(networkOf(addrPort(id.LocalAddress, 0).Addr()), tcp.ProtocolNumber, id, netstack.NIC); ep != nil {
			ep.Abort()
		}
		select {
		case <-done:
			return
		case <-again.C: // it was not there yet
		}
	}
}

// errGivenUp: the peer wants no answer any more.
var errGivenUp = errors.New("the peer has given up")

// failed counts a connection that could not be made, tells the peer as a network would, and reports whether that is a
// reset.
func (g *Gateway) failed(d *dial, err error) (refused bool) {
	a, u := d.flow.account, unreachable{quote: d.quote}
	switch {
	case errors.Is(err, errGivenUp), d.ctx.Err() != nil:
		return false
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ENOBUFS):
		a.refuse(RefusedSockets)
		return true
	}
	a.failures.Add(1)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return true
	case errors.Is(err, syscall.EHOSTUNREACH):
		u.kind = noHost
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EAFNOSUPPORT):
		u.kind = noNetwork
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		u.kind = prohibited
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return false // so the peer's own time runs out, as it would without us
	default:
		return true
	}
	g.tellPeer(a, d.flow.source.Addr(), u)
	return false
}

func addrPort(a tcpip.Address, port uint16) netip.AddrPort {
	if a.Len() == header.IPv4AddressSize {
		return netip.AddrPortFrom(netip.AddrFrom4(a.As4()), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a.As16()), port)
}
