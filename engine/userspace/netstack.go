package userspace

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/wgfleet/wgfleet/engine"
)

// NewNetstack returns the backend that needs no privileges: packets end in a TCP/IP stack inside
// this process, reached by (*Device).Net.
func NewNetstack(o Options) *Backend {
	b := newBackend(engine.KindNetstack, o)
	b.usable = func() error { return nil }
	b.open = func(i engine.Interface) (carrier, error) { return openNetstack(i, o.DNS) }
	return b
}

// stackCarrier is a network stack of its own. It is made with its addresses and MTU and keeps them.
type stackCarrier struct {
	tun       *quietTUN
	network   *netstack.Net
	addresses []netip.Prefix // normalized
	mtu       int
}

func openNetstack(i engine.Interface, dns []netip.Addr) (carrier, error) {
	c := &stackCarrier{addresses: engine.NormalizeAddresses(i.Addresses), mtu: i.MTU}
	var hosts []netip.Addr // each once: the stack refuses a second one
	for _, a := range c.addresses {
		if !slices.Contains(hosts, a.Addr()) {
			hosts = append(hosts, a.Addr())
		}
	}
	t, n, err := netstack.CreateNetTUN(hosts, dns, i.MTU)
	if err != nil {
		return nil, fmt.Errorf("make a network stack: %w", err)
	}
	c.tun, c.network = &quietTUN{Device: t, events: make(chan tun.Event)}, n
	return c, nil
}

func (c *stackCarrier) device() tun.Device { return c.tun }
func (c *stackCarrier) net() *netstack.Net { return c.network }
func (c *stackCarrier) start() error       { return nil }

func (c *stackCarrier) check(_, after engine.Interface) error {
	if !slices.Equal(engine.NormalizeAddresses(after.Addresses), c.addresses) {
		return fmt.Errorf("%w: the addresses of a netstack interface change when it is made anew", engine.ErrUnsupported)
	}
	if after.MTU != 0 && after.MTU != c.mtu {
		return fmt.Errorf("%w: the MTU of a netstack interface changes when it is made anew", engine.ErrUnsupported)
	}
	return nil
}

func (c *stackCarrier) change(_, _ engine.Interface) error { return nil }

func (c *stackCarrier) read(i *engine.Interface) error {
	i.Addresses, i.MTU = slices.Clone(c.addresses), c.mtu
	return nil
}

// quietTUN keeps the upstream netstack device from bringing wireguard-go up before it is configured:
// the device says that it is up as soon as it is made.
type quietTUN struct {
	tun.Device
	events chan tun.Event // nothing is ever sent
}

func (t *quietTUN) Events() <-chan tun.Event { return t.events }

// Close is called once, by the one device.
func (t *quietTUN) Close() error {
	close(t.events)
	return t.Device.Close()
}
