package userspace

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

// NewNetstack returns the backend that needs no privileges: packets end in a TCP/IP stack inside
// this process, reached by (*Device).Net, and with Options.Gateway go on to what this host reaches.
func NewNetstack(o Options) *Backend {
	b := newBackend(engine.KindNetstack, o)
	b.usable = func() error { return nil }
	b.open = func(i engine.Interface) (carrier, error) { return openNetstack(i, b.opts) }
	return b
}

// stackCarrier is a network stack of its own. It is made with its addresses and keeps them.
type stackCarrier struct {
	stack     *netstack.Device
	gate      *gateway.Gateway // nil: none
	addresses []netip.Prefix   // normalized
}

func openNetstack(i engine.Interface, o Options) (carrier, error) {
	c := &stackCarrier{addresses: engine.NormalizeAddresses(i.Addresses)}
	var hosts []netip.Addr // each once: the stack refuses a second one
	for _, a := range c.addresses {
		if !slices.Contains(hosts, a.Addr()) {
			hosts = append(hosts, a.Addr())
		}
	}
	var err error
	c.stack, err = netstack.New(netstack.Options{Addresses: hosts, DNS: o.DNS, MTU: i.MTU, Promiscuous: o.Gateway != nil})
	if err != nil {
		return nil, fmt.Errorf("make a network stack: %w", err)
	}
	if o.Gateway != nil {
		options := *o.Gateway
		options.Logger = o.Logger.With(slog.String("interface", i.Name))
		c.gate = gateway.New(c.stack, c.addresses, options)
	}
	return c, nil
}

func (c *stackCarrier) device() tun.Device        { return stackTUN{c.stack, c.gate} }
func (c *stackCarrier) net() *netstack.Net        { return c.stack.Net() }
func (c *stackCarrier) gateway() *gateway.Gateway { return c.gate }
func (c *stackCarrier) start() error              { return nil }

func (c *stackCarrier) check(_, after engine.Interface) error {
	if !slices.Equal(engine.NormalizeAddresses(after.Addresses), c.addresses) {
		return fmt.Errorf("%w: the addresses of a netstack interface change when it is made anew", engine.ErrUnsupported)
	}
	return nil
}

func (c *stackCarrier) change(_, after engine.Interface) error {
	if after.MTU == 0 {
		after.MTU = device.DefaultMTU
	}
	c.stack.SetMTU(after.MTU)
	return nil
}

func (c *stackCarrier) read(i *engine.Interface) error {
	mtu, err := c.stack.MTU()
	i.Addresses, i.MTU = slices.Clone(c.addresses), mtu
	return err
}

// stackTUN ends the gateway before the stack that it stands on.
type stackTUN struct {
	*netstack.Device
	gate *gateway.Gateway
}

// Close is called once, by the one device.
func (t stackTUN) Close() error {
	if t.gate != nil {
		t.gate.Close()
	}
	return t.Device.Close()
}
