package netstack

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// UDPConn is a UDP socket inside the tunnel. A write waits while the socket's send buffer is full; gonet's own may miss that
// there is room again and wait for ever.
type UDPConn struct {
	*gonet.UDPConn
	endpoint tcpip.Endpoint
	queue    *waiter.Queue
	deadline writeDeadline
	closed   chan struct{}
	once     sync.Once
}

var (
	_ net.Conn       = (*UDPConn)(nil)
	_ net.PacketConn = (*UDPConn)(nil)
)

// openUDP binds to local and connects to remote, where they are valid.
func openUDP(s *stack.Stack, local, remote netip.AddrPort) (*UDPConn, error) {
	family := local
	if remote.IsValid() {
		family = remote
	}
	queue := new(waiter.Queue)
	address, proto := full(family)
	ep, err := s.NewEndpoint(udp.ProtocolNumber, proto, queue)
	if err != nil {
		return nil, udpError("socket", err)
	}
	if local != (netip.AddrPort{}) {
		at, _ := full(local)
		if err := ep.Bind(*at); err != nil {
			ep.Close()
			return nil, udpError("bind", err)
		}
	}
	if remote.IsValid() {
		if err := ep.Connect(*address); err != nil {
			ep.Close()
			return nil, udpError("connect", err)
		}
	}
	return &UDPConn{
		UDPConn: gonet.NewUDPConn(queue, ep), endpoint: ep, queue: queue, closed: make(chan struct{}),
		deadline: writeDeadline{over: make(chan struct{})},
	}, nil
}

func udpError(op string, err tcpip.Error) error {
	return &net.OpError{Op: op, Net: "udp", Err: errors.New(err.String())}
}

// Write sends to the address that the socket is connected to.
func (c *UDPConn) Write(b []byte) (int, error) { return c.write(b, tcpip.WriteOptions{}) }

// WriteTo sends to an address, a *net.UDPAddr.
func (c *UDPConn) WriteTo(b []byte, to net.Addr) (int, error) {
	a, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, &net.OpError{Op: "write", Net: "udp", Addr: to, Err: net.InvalidAddrError("expected a UDP address")}
	}
	at, _ := full(netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port()))
	return c.write(b, tcpip.WriteOptions{To: at})
}

func (c *UDPConn) write(b []byte, o tcpip.WriteOptions) (int, error) {
	var r bytes.Reader
	r.Reset(b)
	n, err := c.endpoint.Write(&r, o)
	if _, full := err.(*tcpip.ErrWouldBlock); full {
		entry, room := waiter.NewChannelEntry(waiter.WritableEvents)
		c.queue.EventRegister(&entry)
		defer c.queue.EventUnregister(&entry)
		for {
			n, err = c.endpoint.Write(&r, o)
			if _, full := err.(*tcpip.ErrWouldBlock); !full {
				break
			}
			select {
			case <-room:
			case <-c.deadline.passed():
				return 0, &net.OpError{Op: "write", Net: "udp", Err: os.ErrDeadlineExceeded}
			case <-c.closed:
				return 0, &net.OpError{Op: "write", Net: "udp", Err: net.ErrClosed}
			}
		}
	}
	if err != nil {
		return int(n), udpError("write", err)
	}
	return int(n), nil
}

// SetDeadline sets that of reads and writes; see net.Conn.
func (c *UDPConn) SetDeadline(at time.Time) error {
	c.deadline.set(at)
	return c.UDPConn.SetReadDeadline(at)
}

// SetWriteDeadline sets that of writes, which wait for room alone; see net.Conn.
func (c *UDPConn) SetWriteDeadline(at time.Time) error {
	c.deadline.set(at)
	return nil
}

// Close ends the socket and what waits on it.
func (c *UDPConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.UDPConn.Close()
}

// writeDeadline is a channel that is closed at a time, which may be moved; it is the one of net.Pipe.
type writeDeadline struct {
	mu    sync.Mutex // protects what follows
	timer *time.Timer
	over  chan struct{}
}

func (d *writeDeadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}

// set moves the time; the zero one is never.
func (d *writeDeadline) set(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // the timer's function is about to close it
	}
	d.timer = nil
	if isClosed(d.over) {
		d.over = make(chan struct{})
	}
	if at.IsZero() {
		return
	}
	wait := time.Until(at)
	if wait <= 0 {
		close(d.over)
		return
	}
	over := d.over
	d.timer = time.AfterFunc(wait, func() { close(over) })
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
