package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

// publish opens a port of the host that leads to a peer, until s ends. To the peer its connections come from the
// node. Errors: *engine.FieldError.
func (g *Gateway) publish(s *service, p engine.Published) error {
	address := p.Listen.String()
	if !p.Listen.Addr().IsValid() {
		address = fmt.Sprintf(":%d", p.Listen.Port())
	}
	var lc net.ListenConfig
	var begun bool
	if p.Protocol == engine.ProtocolTCP {
		l, err := lc.Listen(s.ctx, "tcp", address)
		if err != nil {
			return publishError(p, err)
		}
		s.closes(l)
		begun = g.task(func() { g.servePublished(s.ctx, l, p.Target) })
	} else {
		c, err := lc.ListenPacket(s.ctx, "udp", address)
		if err != nil {
			return publishError(p, err)
		}
		s.closes(c)
		begun = g.task(func() { g.servePublishedUDP(s.ctx, c, p.Target) })
	}
	if !begun {
		return publishError(p, net.ErrClosed)
	}
	return nil
}

func publishError(p engine.Published, err error) error {
	return &engine.FieldError{Field: "publish", Reason: fmt.Sprintf("%s: %s", p, err)}
}

// acceptAgain is how long an accept waits that failed for want of files.
const acceptAgain = 100 * time.Millisecond

func (g *Gateway) servePublished(ctx context.Context, l net.Listener, target netip.AddrPort) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			g.log.Warn("a published port takes no connections for a moment", "target", target.String(), "error", err)
			select {
			case <-time.After(acceptAgain):
			case <-ctx.Done():
			}
			continue
		}
		host, ok := c.(*net.TCPConn)
		if !ok {
			c.Close() // a listener of ours has no others
			continue
		}
		g.tasks.Go(func() { g.carryIn(ctx, host, target) })
	}
}

// carryIn carries a connection from the host's network to a peer.
func (g *Gateway) carryIn(ctx context.Context, host *net.TCPConn, target netip.AddrPort) {
	a, known := g.peers.lookup(target.Addr())
	if !known {
		reset(host)
		return
	}
	f := &flow{
		account: a, protocol: engine.ProtocolTCP, direction: engine.DirectionIn, source: addrPortOf(host.RemoteAddr()), destination: target,
	}
	ctx, cancel := context.WithCancel(ctx)
	f.close = cancel
	defer cancel()
	if g.begin(f) != "" {
		reset(host)
		return
	}
	defer f.end()
	s := &stream{host: host}
	if err := g.dialPeer(ctx, s, target); err != nil {
		a.failures.Add(1)
		reset(host)
		return
	}
	s.carry(ctx, f)
}

// dialPeer connects to a peer, in at most the time of a dial.
func (g *Gateway) dialPeer(ctx context.Context, s *stream, target netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, g.o.Timeouts.Dial)
	defer cancel()
	ep, err := g.stack.NewEndpoint(tcp.ProtocolNumber, networkOf(target.Addr()), &s.queue)
	if err != nil {
		return errors.New(err.String())
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	err = ep.Connect(tcpip.FullAddress{NIC: netstack.NIC, Addr: tcpip.AddrFromSlice(target.Addr().AsSlice()), Port: target.Port()})
	if _, started := err.(*tcpip.ErrConnectStarted); started {
		select {
		case <-connected:
			err = ep.LastError()
		case <-ctx.Done():
			err = &tcpip.ErrTimeout{}
		}
	}
	if err != nil {
		ep.Close()
		return errors.New(err.String())
	}
	s.peer = ep
	return nil
}
