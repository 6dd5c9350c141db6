package netstack

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/wgfleet/wgfleet/engine"
)

// NIC is the stack's one network interface: the tunnel.
const NIC tcpip.NICID = 1

// batchSize is how many packets move at once: as many as wireguard-go's UDP side takes (conn.IdealBatchSize).
const batchSize = 128

// Options describe a device.
type Options struct {
	Addresses []netip.Addr // its own; each once
	DNS       []netip.Addr // resolvers, reached through the tunnel
	MTU       int          // bytes
	// Promiscuous devices take packets to any address, loopback included, and send from any: for a gateway.
	Promiscuous bool
}

// Device is a tun.Device whose other side is a TCP/IP stack in this process.
type Device struct {
	stack  *stack.Stack
	link   *link
	net    *Net
	filter atomic.Pointer[func(packet []byte) bool]
	events chan tun.Event // nothing is ever sent: who made the device brings it up
	read   reader

	writing sync.RWMutex // read-locked by Write, so that Close waits for it
	closed  bool         // protected by writing
	once    sync.Once
}

var _ tun.Device = (*Device)(nil)

// New makes a device. Errors: *engine.FieldError.
func New(o Options) (*Device, error) {
	d := &Device{
		stack: stack.New(stack.Options{
			NetworkProtocols: []stack.NetworkProtocolFactory{
				ipv4.NewProtocolWithOptions(ipv4.Options{AllowExternalLoopbackTraffic: o.Promiscuous}),
				ipv6.NewProtocolWithOptions(ipv6.Options{AllowExternalLoopbackTraffic: o.Promiscuous}),
			},
			TransportProtocols: []stack.TransportProtocolFactory{
				tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
			},
			// A stack that takes every address for its own would keep what it sends to itself.
			HandleLocal: !o.Promiscuous,
		}),
		link:   newLink(o.MTU),
		events: make(chan tun.Event),
	}
	d.net = &Net{stack: d.stack, dns: o.DNS}
	if err := d.set(o); err != nil {
		d.stack.Destroy()
		return nil, err
	}
	return d, nil
}

func (d *Device) set(o Options) error {
	if err := tune(d.stack); err != nil {
		return fmt.Errorf("make a network stack: %s", err)
	}
	if err := d.stack.CreateNIC(NIC, d.link); err != nil {
		return fmt.Errorf("make a network stack: %s", err)
	}
	if o.Promiscuous {
		// They fail for a NIC that is not there alone.
		_ = d.stack.SetPromiscuousMode(NIC, true)
		_ = d.stack.SetSpoofing(NIC, true)
	}
	for _, a := range o.Addresses {
		address := tcpip.ProtocolAddress{Protocol: protocolOf(a), AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix()}
		if err := d.stack.AddProtocolAddress(NIC, address, stack.AddressProperties{}); err != nil {
			return &engine.FieldError{Field: "addresses", Reason: fmt.Sprintf("%s: %s", a, err)}
		}
	}
	if o.Promiscuous || slices.ContainsFunc(o.Addresses, netip.Addr.Is4) {
		d.stack.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, NIC: NIC})
	}
	if o.Promiscuous || slices.ContainsFunc(o.Addresses, netip.Addr.Is6) {
		d.stack.AddRoute(tcpip.Route{Destination: header.IPv6EmptySubnet, NIC: NIC})
	}
	return nil
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// Stack is the TCP/IP stack. It is closed by Close alone.
func (d *Device) Stack() *stack.Stack { return d.stack }

// Net gives sockets inside the tunnel.
func (d *Device) Net() *Net { return d.net }

// Filter sets a function that sees every packet that arrives before the stack does; true: the packet was taken care of. It
// is called concurrently and must not keep the slice, but may change it.
func (d *Device) Filter(f func(packet []byte) bool) { d.filter.Store(&f) }

// Send queues a whole IP packet for Read and copies it; false: the queue is full, which is counted, or the device is closed.
func (d *Device) Send(packet []byte) bool { return d.link.send(packet) }

// Drops are the packets that were lost here since New, by reason.
func (d *Device) Drops() map[string]int64 {
	return map[string]int64{"queue_full": d.link.full.Load(), "malformed": d.link.malformed.Load()}
}

// Name is "netstack"; see tun.Device.
func (*Device) Name() (string, error) { return "netstack", nil }

// File is nil: there is no file; see tun.Device.
func (*Device) File() *os.File { return nil }

// Events is closed by Close and says nothing before; see tun.Device.
func (d *Device) Events() <-chan tun.Event { return d.events }

// BatchSize is how many packets Read and Write move at once; see tun.Device.
func (*Device) BatchSize() int { return batchSize }

// MTU is in bytes; see tun.Device.
func (d *Device) MTU() (int, error) { return int(d.link.mtu.Load()), nil }

// SetMTU changes it for what is sent from now on; connections that there are send smaller segments at once, and larger
// ones never.
func (d *Device) SetMTU(mtu int) { d.link.SetMTU(uint32(mtu)) }

// Close ends the stack with all its connections. A second call does nothing.
func (d *Device) Close() error {
	d.once.Do(func() {
		d.writing.Lock()
		d.closed = true
		d.writing.Unlock()
		d.stack.Close()
		d.link.shut()
		d.read.drop()
		d.stack.Wait()
		close(d.events)
	})
	return nil
}
