package server

import (
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
)

// memNet is a UDP network in memory: ports as asked for, without the host's.
type memNet struct {
	mu    sync.Mutex // protects what follows
	ports map[uint16]*memBind
	next  uint16
}

func newMemNet() *memNet { return &memNet{ports: make(map[uint16]*memBind), next: 40000} }

func (n *memNet) bind() conn.Bind { return &memBind{net: n} }

// memBind is one socket of a memNet.
type memBind struct {
	net *memNet

	mu     sync.Mutex // protects what follows
	port   uint16
	packet chan memPacket
	closed chan struct{}
}

type memPacket struct {
	data []byte
	from memEndpoint
}

type memEndpoint netip.AddrPort

func (e memEndpoint) ClearSrc()           {}
func (e memEndpoint) SrcToString() string { return "" }
func (e memEndpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e memEndpoint) DstToBytes() []byte  { return []byte(e.DstToString()) }
func (e memEndpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e memEndpoint) SrcIP() netip.Addr   { return netip.Addr{} }

func (b *memBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	if port == 0 {
		b.net.next++
		port = b.net.next
	}
	if b.net.ports[port] != nil {
		return nil, 0, syscall.EADDRINUSE
	}
	b.net.ports[port] = b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.port, b.packet, b.closed = port, make(chan memPacket, 64), make(chan struct{})
	packets, closed := b.packet, b.closed
	receive := func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case p := <-packets:
			sizes[0] = copy(bufs[0], p.data)
			eps[0] = p.from
			return 1, nil
		}
	}
	return []conn.ReceiveFunc{receive}, port, nil
}

func (b *memBind) Close() error {
	b.mu.Lock()
	port, closed := b.port, b.closed
	b.closed = nil
	b.mu.Unlock()
	if closed == nil {
		return nil
	}
	close(closed)
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	delete(b.net.ports, port)
	return nil
}

func (b *memBind) SetMark(uint32) error { return nil }
func (b *memBind) BatchSize() int       { return 1 }

func (b *memBind) Send(bufs [][]byte, ep conn.Endpoint) error {
	b.mu.Lock()
	from := memEndpoint(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.port))
	b.mu.Unlock()
	b.net.mu.Lock()
	to := b.net.ports[netip.AddrPort(ep.(memEndpoint)).Port()]
	b.net.mu.Unlock()
	if to == nil {
		return nil
	}
	for _, buf := range bufs {
		select {
		case to.packet <- memPacket{append([]byte(nil), buf...), from}:
		default:
		}
	}
	return nil
}

func (b *memBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return memEndpoint(a), err
}
