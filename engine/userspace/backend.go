package userspace

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
)

// DefaultUAPIDir is where wg(8) looks for the sockets of userspace devices.
const DefaultUAPIDir = "/var/run/wireguard"

// Options are what a backend may be given; the zero value is usable.
type Options struct {
	// Logger hears wireguard-go; nil for silence. One peer's troubles are at debug level.
	Logger *slog.Logger
	// UAPIDir is where the UAPI sockets are. Empty: none on netstack, DefaultUAPIDir on a TUN.
	UAPIDir string
	// Bind makes the UDP side of a device. It is called twice where a port is asked for, the
	// first time to try the port. nil: conn.NewDefaultBind.
	Bind func() conn.Bind
	// DNS are the resolvers that netstack's own dialer asks, inside the tunnel.
	DNS []netip.Addr
	// Gateway carries the packets of netstack's peers to what this host reaches; nil: they end in this process. Its
	// logger is this one's.
	Gateway *gateway.Options
}

// Backend makes devices of one kind.
type Backend struct {
	kind   engine.Kind
	opts   Options
	open   func(engine.Interface) (carrier, error)
	usable func() error

	mu      sync.Mutex         // protects devices
	devices map[string]*Device // nil: being created
}

var _ engine.Backend = (*Backend)(nil)

func newBackend(kind engine.Kind, o Options) *Backend {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Bind == nil {
		o.Bind = conn.NewDefaultBind
	}
	return &Backend{kind: kind, opts: o, devices: make(map[string]*Device)}
}

// Kind is engine.KindNetstack or engine.KindTUN.
func (b *Backend) Kind() engine.Kind { return b.kind }

// Usable says in one sentence why this backend cannot work here, or returns nil. A TUN backend
// makes an interface and takes it down again to find out.
func (b *Backend) Usable() error { return b.usable() }

// Create makes the interface and brings it up; see engine.Backend.
func (b *Backend) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	if err := engine.ValidateName(i.Name); err != nil {
		return nil, err
	}
	if err := engine.ValidateInterface(i); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create %s: %w", i.Name, err)
	}
	if err := b.reserve(i.Name); err != nil {
		return nil, err
	}
	d, err := b.create(i)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		delete(b.devices, i.Name)
		return nil, err
	}
	b.devices[i.Name] = d
	go d.closeWhenGone()
	return d, nil
}

func (b *Backend) reserve(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, taken := b.devices[name]; taken {
		return fmt.Errorf("%w: %s is up in this process", engine.ErrInterfaceExists, name)
	}
	b.devices[name] = nil
	return nil
}

func (b *Backend) create(i engine.Interface) (_ *Device, err error) {
	if i.MTU == 0 {
		i.MTU = device.DefaultMTU
	}
	if err := probe(b.opts.Bind, i.Name, i.ListenPort, i.FwMark); err != nil {
		return nil, err
	}
	var s *socket
	if b.opts.UAPIDir != "" {
		if s, err = listen(b.opts.UAPIDir, i.Name); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				s.close()
			}
		}()
	}
	c, err := b.open(i)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", i.Name, err)
	}
	d := &Device{
		name: i.Name, carrier: c, bind: b.opts.Bind, socket: s,
		forget: func() { b.forget(i.Name) },
		dev:    device.NewDevice(c.device(), narrowBind{b.opts.Bind()}, deviceLogger(b.opts.Logger, i.Name)),
	}
	if err := d.start(i); err != nil {
		d.dev.Close()
		return nil, err
	}
	if s != nil {
		s.serve(d)
	}
	return d, nil
}

func (b *Backend) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.devices, name)
}

// Attach returns a device that this backend created and that is still up.
func (b *Backend) Attach(_ context.Context, name string) (engine.Device, error) {
	d, err := b.find(name)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (b *Backend) find(name string) (*Device, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := b.devices[name]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("%w: %q is not up in this process", engine.ErrUnknownInterface, name)
}

// Names lists the devices that are up, sorted.
func (b *Backend) Names(context.Context) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := slices.Sorted(maps.Keys(b.devices))
	return slices.DeleteFunc(names, func(n string) bool { return b.devices[n] == nil }), nil
}
