package network

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
)

const (
	firstPort = 40001 // to 65535: those that are chosen
	queueSize = 1024  // datagrams that wait for one socket; what finds no room is lost, as on any network
	batchSize = 128
)

// Wire is a UDP network in memory: every socket has a port of its own on 127.0.0.1, as on a host, and nothing else is
// there. It keeps the order of datagrams. It is safe for concurrent use.
type Wire struct {
	mu    sync.RWMutex // protects what follows
	ports map[uint16]*bind
	next  uint16
	cut   map[[2]uint16]bool
	lost  atomic.Int64
}

// NewWire makes one without sockets.
func NewWire() *Wire {
	return &Wire{ports: make(map[uint16]*bind), next: firstPort, cut: make(map[[2]uint16]bool)}
}

// Bind makes the UDP side of a device, of userspace.Options or of upstream's device.NewDevice. It opens the port that the
// device asks for, or a free one.
func (w *Wire) Bind() conn.Bind { return &bind{wire: w} }

var address = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Endpoint is where a port of the wire is reached.
func Endpoint(port uint16) netip.AddrPort { return netip.AddrPortFrom(address, port) }

// Cut loses what two ports send to each other, until Join.
func (w *Wire) Cut(a, b uint16) { w.part(a, b, true) }

// Join ends a Cut.
func (w *Wire) Join(a, b uint16) { w.part(a, b, false) }

func (w *Wire) part(a, b uint16, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut[[2]uint16{a, b}], w.cut[[2]uint16{b, a}] = cut, cut
}

// Lost counts the sends that a Cut lost.
func (w *Wire) Lost() int64 { return w.lost.Load() }

// between returns the socket that hears what from sends to an endpoint; nil: none does.
func (w *Wire) between(from uint16, to netip.AddrPort) *bind {
	w.mu.RLock()
	defer w.mu.RUnlock()
	switch {
	case to.Addr() != address:
		return nil
	case w.cut[[2]uint16{from, to.Port()}]:
		w.lost.Add(1)
		return nil
	}
	return w.ports[to.Port()]
}

// freeLocked chooses a port, one after the other, so that one that was let go is not soon another's; 0: all are taken.
func (w *Wire) freeLocked() uint16 {
	for range 1<<16 - firstPort {
		port := w.next
		if w.next++; w.next == 0 {
			w.next = firstPort
		}
		if w.ports[port] == nil {
			return port
		}
	}
	return 0
}

// bind is one socket of a wire.
type bind struct {
	wire *Wire

	mu      sync.Mutex // protects what follows
	port    uint16
	packets chan packet
	closed  chan struct{} // nil: not open
}

type packet struct {
	data []byte
	from endpoint
}

// endpoint is a port of the wire.
type endpoint netip.AddrPort

var _ conn.Endpoint = endpoint{}

func (endpoint) ClearSrc()             {}
func (endpoint) SrcToString() string   { return "" }
func (endpoint) SrcIP() netip.Addr     { return netip.Addr{} }
func (e endpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e endpoint) DstToBytes() []byte  { return []byte(e.DstToString()) }
func (e endpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }

// Open takes a port; see conn.Bind.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	if port == 0 {
		port = b.wire.freeLocked()
	}
	if port == 0 || b.wire.ports[port] != nil {
		return nil, 0, syscall.EADDRINUSE
	}
	b.wire.ports[port] = b
	b.port, b.packets, b.closed = port, make(chan packet, queueSize), make(chan struct{})
	return []conn.ReceiveFunc{receive(b.packets, b.closed)}, port, nil
}

// receive waits for a datagram and takes along what waits behind it.
func receive(packets <-chan packet, closed <-chan struct{}) conn.ReceiveFunc {
	return func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (n int, err error) {
		var p packet
		select {
		case <-closed:
			return 0, net.ErrClosed
		case p = <-packets:
		}
		for {
			sizes[n], eps[n] = copy(bufs[n], p.data), p.from
			if n++; n == len(bufs) {
				return n, nil
			}
			select {
			case p = <-packets:
			default:
				return n, nil
			}
		}
	}
}

// Close lets go of the port; see conn.Bind. It can be opened again.
func (b *bind) Close() error {
	b.wire.mu.Lock()
	defer b.wire.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		return nil
	}
	close(b.closed)
	b.closed = nil
	delete(b.wire.ports, b.port)
	return nil
}

// SetMark does nothing: there are no routes.
func (*bind) SetMark(uint32) error { return nil }

// BatchSize is how many datagrams move at once.
func (*bind) BatchSize() int { return batchSize }

// Send hands over datagrams; see conn.Bind.
func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	e, ok := to.(endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	b.mu.Lock()
	from, open := b.port, b.closed != nil
	b.mu.Unlock()
	if !open {
		return net.ErrClosed
	}
	far := b.wire.between(from, netip.AddrPort(e))
	if far == nil {
		return nil // nobody is there
	}
	far.mu.Lock()
	packets := far.packets
	far.mu.Unlock()
	for _, buf := range bufs {
		select {
		case packets <- packet{append([]byte(nil), buf...), endpoint(Endpoint(from))}:
		default:
		}
	}
	return nil
}

// ParseEndpoint reads address:port; see conn.Bind. What is sent to any address but 127.0.0.1 is lost.
func (*bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("an endpoint of a network in memory: %w", err)
	}
	return endpoint(netip.AddrPortFrom(a.Addr().Unmap(), a.Port())), nil
}
