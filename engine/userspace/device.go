package userspace

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

// batchBytes is how much configuration is handed over at once. wireguard-go lets nobody read while
// it applies a batch, so a small one keeps wg(8) and Observe answering during a large change.
const batchBytes = 32 << 10

// carrier is what a device sits on: netstack or a TUN interface.
type carrier interface {
	device() tun.Device
	net() *netstack.Net        // nil: not on netstack
	gateway() *gateway.Gateway // nil: none
	// start is called once, after the device is up.
	start() error
	// check refuses changes of addresses or MTU that change cannot do.
	check(before, after engine.Interface) error
	change(before, after engine.Interface) error
	// read fills in addresses and MTU.
	read(*engine.Interface) error
}

// Device is one interface that is up.
type Device struct {
	name    string
	carrier carrier
	bind    func() conn.Bind
	socket  *socket // nil: none
	forget  func()
	dev     *device.Device

	revision  atomic.Uint64
	configure sync.Mutex // one Configure at a time
	once      sync.Once
	mu        sync.RWMutex // read-locked by who uses dev; protects closed
	closed    bool
}

var (
	_ engine.Hosted  = (*Device)(nil)
	_ engine.Greeter = (*Device)(nil)
	_ engine.Gateway = (*Device)(nil)
)

// start configures the device before it is up, so that nothing is sent with half of its settings.
func (d *Device) start(i engine.Interface) error {
	settings := engine.InterfaceChange{After: i}
	if err := d.dev.IpcSet(string(appendInterface(nil, settings))); err != nil {
		return d.fail("set up", err)
	}
	if err := d.dev.Up(); err != nil {
		return d.fail("bring up", portError(i.Name, i.ListenPort, err))
	}
	if err := d.carrier.start(); err != nil {
		return d.fail("bring up", err)
	}
	return nil
}

func (d *Device) fail(what string, err error) error {
	return fmt.Errorf("%s %s: %w", what, d.name, err)
}

// Name is the interface's name.
func (d *Device) Name() string { return d.name }

// Net gives Go code sockets inside the tunnel; it is nil on a TUN. Close what you opened with it
// before you close the device.
func (d *Device) Net() *netstack.Net { return d.carrier.net() }

// Net is the network inside the tunnel of the netstack device of that name. Errors:
// engine.ErrUnknownInterface, engine.ErrUnsupported on a TUN.
func (b *Backend) Net(name string) (*netstack.Net, error) {
	d, err := b.find(name)
	if err != nil {
		return nil, err
	}
	if n := d.Net(); n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("%w: %s is on a TUN, the host's sockets reach it", engine.ErrUnsupported, name)
}

// Revision grows with each write of configuration, by Configure or through the UAPI socket, once
// it is done.
func (d *Device) Revision() uint64 { return d.revision.Load() }

// Observe reads the device; see engine.Device.
func (d *Device) Observe(ctx context.Context) (engine.Observation, error) {
	if err := ctx.Err(); err != nil {
		return engine.Observation{}, d.fail("observe", err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return engine.Observation{}, d.fail("observe", engine.ErrClosed)
	}
	var text strings.Builder
	if err := d.dev.IpcGetOperation(&text); err != nil {
		return engine.Observation{}, d.fail("observe", err)
	}
	o, err := parse(text.String())
	if err != nil {
		return engine.Observation{}, d.fail("observe", err)
	}
	o.Interface.Name = d.name
	if err := d.carrier.read(&o.Interface); err != nil {
		return engine.Observation{}, d.fail("observe", err)
	}
	return o, nil
}

// ReadHost reads what ip(8) may change on a TUN; see engine.Hosted.
func (d *Device) ReadHost(ctx context.Context, i *engine.Interface) error {
	if err := ctx.Err(); err != nil {
		return d.fail("observe", err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return d.fail("observe", engine.ErrClosed)
	}
	if err := d.carrier.read(i); err != nil {
		return d.fail("observe", err)
	}
	return nil
}

// Configure does the changes; see engine.Device. It stops between two batches when ctx ends.
func (d *Device) Configure(ctx context.Context, c engine.Changes) error {
	d.configure.Lock()
	defer d.configure.Unlock()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return d.fail("configure", engine.ErrClosed)
	}
	if err := d.check(c.Interface); err != nil {
		return d.fail("configure", err)
	}
	if err := ctx.Err(); err != nil {
		return d.fail("configure", err)
	}
	defer d.revision.Add(1)
	if err := d.apply(ctx, c); err != nil {
		d.refollow()
		return d.fail("configure", err)
	}
	d.follow(c.Peers)
	return nil
}

// check finds what would fail halfway before anything is done.
func (d *Device) check(c *engine.InterfaceChange) error {
	if c == nil {
		return nil
	}
	if err := engine.ValidateInterface(c.After); err != nil {
		return err
	}
	if err := d.carrier.check(c.Before, c.After); err != nil {
		return err
	}
	port, mark := c.After.ListenPort, c.After.FwMark
	if port == c.Before.ListenPort {
		port = 0
	}
	if mark == c.Before.FwMark {
		mark = 0
	}
	return probe(d.bind, d.name, port, mark)
}

func (d *Device) apply(ctx context.Context, c engine.Changes) error {
	var text []byte
	if c.Interface != nil {
		text = appendInterface(text, *c.Interface)
	}
	for _, p := range c.Peers {
		text = appendPeer(text, p)
		if len(text) < batchBytes {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.set(text, c.Interface); err != nil {
			return err
		}
		text = text[:0]
	}
	if err := d.set(text, c.Interface); err != nil {
		return err
	}
	if c.Interface != nil {
		return d.carrier.change(c.Interface.Before, c.Interface.After)
	}
	return nil
}

func (d *Device) set(text []byte, c *engine.InterfaceChange) error {
	err := d.dev.IpcSet(string(text))
	if err != nil && c != nil {
		err = portError(d.name, c.After.ListenPort, err)
	}
	return err
}

// Close takes the interface down; see engine.Device.
func (d *Device) Close(context.Context) error {
	d.once.Do(func() {
		d.mu.Lock()
		d.closed = true
		d.mu.Unlock()
		d.revision.Add(1) // what was known of it is no longer true
		if d.socket != nil {
			d.socket.close()
		}
		// Down ends the peers and the UDP side first, so that no packet comes in while the
		// carrier closes.
		_ = d.dev.Down() // its error is of a UDP socket that is closed either way
		d.dev.Close()
		d.forget()
	})
	return nil
}

// closeWhenGone frees the rest once wireguard-go has closed itself, which it does when its TUN
// interface is deleted. It ends when the device does.
func (d *Device) closeWhenGone() {
	<-d.dev.Wait()
	_ = d.Close(context.Background()) // never fails
}
