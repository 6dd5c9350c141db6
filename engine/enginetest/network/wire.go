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
	firstPort = 40001 // of those that are chosen
	queueSize = 1024  // datagrams that wait for one socket; what finds no room is lost, as on any network
	batchSize = 128
)

// Wire is a UDP network in memory: every socket has a port of its own on one address.
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

// Bind makes the UDP side of a device; see conn.Bind. It opens the port that the device asks for, or a free one.
func (w *Wire) Bind() conn.Bind { return &bind{wire: w} }

// Endpoint is where a port of the wire is reached.
func Endpoint(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

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

// between returns the socket that hears what from sends to a port; nil: none does.
func (w *Wire) between(from, to uint16) *bind {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.cut[[2]uint16{from, to}] {
		w.lost.Add(1)
		return nil
	}
	return w.ports[to]
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
	for port == 0 {
		if b.wire.ports[b.wire.next] == nil {
			port = b.wire.next
		}
		b.wire.next++
	}
	if b.wire.ports[port] != nil {
		return nil, 0, syscall.EADDRINUSE
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
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
	far := b.wire.between(from, netip.AddrPort(e).Port())
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

// ParseEndpoint reads address:port; see conn.Bind. The port alone counts.
func (*bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("an endpoint of a network in memory: %w", err)
	}
	return endpoint(a), nil
}
