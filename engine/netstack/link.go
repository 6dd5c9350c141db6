package netstack

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	queueSize = 2048       // packets that wait for Read
	gsoSize   = 64<<10 - 1 // of what the stack sends in one piece
)

// link is the stack's end of the device: a ring of packets that wait to be read.
type link struct {
	mtu             atomic.Uint32
	full, malformed atomic.Int64
	dispatcher      atomic.Pointer[stack.NetworkDispatcher]
	wake            chan struct{} // capacity 1: there may be packets, or the end

	mu     sync.Mutex // protects what follows
	ring   [queueSize]*stack.PacketBuffer
	head   int // the oldest
	count  int
	closed bool
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

func newLink(mtu int) *link {
	l := &link{wake: make(chan struct{}, 1)}
	l.mtu.Store(uint32(mtu))
	return l
}

// WritePackets queues what the stack sends; see stack.LinkWriter. What finds no room is dropped.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for n, pkt := range pkts.AsSlice() {
		if err := l.push(pkt); err != nil {
			l.full.Add(int64(pkts.Len() - n - 1)) // those behind it
			return n, err
		}
	}
	return pkts.Len(), nil
}

// push takes a reference to a packet.
func (l *link) push(pkt *stack.PacketBuffer) tcpip.Error {
	l.mu.Lock()
	closed, full := l.closed, l.count == queueSize
	if !closed && !full {
		l.ring[(l.head+l.count)%queueSize] = pkt.IncRef()
		l.count++
	}
	l.mu.Unlock()
	switch {
	case closed:
		return &tcpip.ErrClosedForSend{}
	case full:
		l.full.Add(1)
		return &tcpip.ErrNoBufferSpace{}
	}
	l.awake()
	return nil
}

// send queues a whole packet.
func (l *link) send(packet []byte) bool {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer pkt.DecRef()
	return l.push(pkt) == nil
}

func (l *link) awake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take moves the oldest packets into out and waits for the first; false: the device is closed.
func (l *link) take(out []*stack.PacketBuffer) (int, bool) {
	for {
		if n, closed := l.takeNow(out); n > 0 || closed {
			return n, !closed
		}
		<-l.wake
	}
}

func (l *link) takeNow(out []*stack.PacketBuffer) (n int, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.awake() // for the next one who waits
		return 0, true
	}
	for n < len(out) && l.count > 0 {
		out[n] = l.ring[l.head]
		l.ring[l.head] = nil
		l.head = (l.head + 1) % queueSize
		l.count--
		n++
	}
	return n, false
}

// shut drops what waits and takes no more.
func (l *link) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for ; l.count > 0; l.count-- {
		l.ring[l.head].DecRef()
		l.ring[l.head] = nil
		l.head = (l.head + 1) % queueSize
	}
	l.awake()
}

// deliver hands a packet to the stack, and lets it go.
func (l *link) deliver(pkt *stack.PacketBuffer) {
	if d := l.dispatcher.Load(); d != nil && *d != nil {
		(*d).DeliverNetworkPacket(pkt.NetworkProtocolNumber, pkt)
	}
	pkt.DecRef()
}

// The rest is what a stack.LinkEndpoint has to say of itself.

func (l *link) MTU() uint32                           { return l.mtu.Load() }
func (l *link) SetMTU(mtu uint32)                     { l.mtu.Store(mtu) }
func (*link) MaxHeaderLength() uint16                 { return 0 }
func (*link) LinkAddress() tcpip.LinkAddress          { return "" }
func (*link) SetLinkAddress(tcpip.LinkAddress)        {}
func (*link) Wait()                                   {}
func (*link) Close()                                  {}
func (*link) SetOnCloseAction(func())                 {}
func (*link) AddHeader(*stack.PacketBuffer)           {}
func (*link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (*link) GSOMaxSize() uint32                      { return gsoSize }
func (*link) SupportedGSO() stack.SupportedGSO        { return stack.HostGSOSupported }

// Capabilities are none: the stack checks all sums itself, of fragments that it puts together as well.
func (*link) Capabilities() stack.LinkEndpointCapabilities { return 0 }

func (l *link) Attach(d stack.NetworkDispatcher) { l.dispatcher.Store(&d) }

func (l *link) IsAttached() bool {
	d := l.dispatcher.Load()
	return d != nil && *d != nil
}
