package enginetest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Fake is a backend in memory: interfaces of one host, which share its UDP ports. The zero value is
// not usable, see NewFake.
type Fake struct {
	mu       sync.Mutex // protects everything, of the devices too
	devices  map[string]*FakeDevice
	nextPort uint16
	onCreate func(engine.Interface) error
}

var _ engine.Backend = (*Fake)(nil)

// NewFake returns a host without interfaces.
func NewFake() *Fake {
	return &Fake{devices: make(map[string]*FakeDevice), nextPort: 20000}
}

// OnCreate makes Create ask f first and fail with its error; nil: no longer.
func (f *Fake) OnCreate(ask func(engine.Interface) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onCreate = ask
}

// Kind is engine.KindFake.
func (f *Fake) Kind() engine.Kind { return engine.KindFake }

// Usable reports that memory is there.
func (f *Fake) Usable() error { return nil }

// Create makes an interface; see engine.Backend. Its Device is a *FakeDevice.
func (f *Fake) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	if err := engine.ValidateName(i.Name); err != nil {
		return nil, err
	}
	if err := engine.ValidateInterface(i); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create %s: %w", i.Name, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onCreate != nil {
		if err := f.onCreate(i); err != nil {
			return nil, err
		}
	}
	if f.devices[i.Name] != nil {
		return nil, fmt.Errorf("%w: %s", engine.ErrInterfaceExists, i.Name)
	}
	port, err := f.portLocked(i.Name, i.ListenPort)
	if err != nil {
		return nil, err
	}
	i.ListenPort = port
	i.PrivateKey = i.PrivateKey.Clamped()
	i.Addresses = engine.NormalizeAddresses(i.Addresses)
	if i.MTU == 0 {
		i.MTU = 1420
	}
	d := &FakeDevice{host: f, settings: i, peers: make(map[wgtypes.Key]*fakePeer), holders: make(map[netip.Prefix]*fakePeer)}
	f.devices[i.Name] = d
	return d, nil
}

// portLocked takes the port for an interface, or refuses it; 0 chooses one.
func (f *Fake) portLocked(name string, port uint16) (uint16, error) {
	taken := func(p uint16) bool {
		for _, d := range f.devices {
			if d.settings.Name != name && d.settings.ListenPort == p {
				return true
			}
		}
		return false
	}
	if port != 0 {
		if taken(port) {
			return 0, fmt.Errorf("%w: UDP port %d cannot be bound for %s", engine.ErrPortInUse, port, name)
		}
		return port, nil
	}
	for taken(f.nextPort) {
		f.nextPort++
	}
	f.nextPort++
	return f.nextPort - 1, nil
}

// Attach returns an interface that is up.
func (f *Fake) Attach(_ context.Context, name string) (engine.Device, error) {
	d, err := f.Device(name)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Device is Attach with the type that tests want.
func (f *Fake) Device(name string) (*FakeDevice, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.devices[name]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("%w: %q", engine.ErrUnknownInterface, name)
}

// Names lists the interfaces, sorted.
func (f *Fake) Names(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.devices)), nil
}
