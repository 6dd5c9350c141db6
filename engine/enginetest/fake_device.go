package enginetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// ErrInjected is what a step fails with where FailAt was given no error.
var ErrInjected = errors.New("injected failure")

// FakeDevice is one interface of a Fake. It takes configuration step by step, as wireguard-go takes
// it line by line: a step that fails leaves those before it done.
type FakeDevice struct {
	host     *Fake // whose mutex protects all of this
	settings engine.Interface
	peers    map[wgtypes.Key]*fakePeer
	holders  map[netip.Prefix]*fakePeer // allowed IPs: each has one holder
	revision uint64
	closed   bool

	configures int
	steps      int
	failAt     map[int]error // by number of step
	onObserve  func(*engine.Observation) error
}

type fakePeer struct {
	conf  engine.Peer // without allowed IPs
	ips   map[netip.Prefix]struct{}
	stats engine.Stats
}

var _ engine.Owned = (*FakeDevice)(nil)

// FailAt makes the n-th step from now fail once with err; 1 is the next. A step is one line of
// configuration: a setting of the interface; of a peer its arrival, its removal, a field, the
// clearing of its allowed IPs, one allowed IP.
func (d *FakeDevice) FailAt(n int, err error) {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if err == nil {
		err = ErrInjected
	}
	if d.failAt == nil {
		d.failAt = make(map[int]error)
	}
	d.failAt[d.steps+n] = err
}

// OnObserve lets edit tear each read, or fail it; nil: no longer.
func (d *FakeDevice) OnObserve(edit func(*engine.Observation) error) {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	d.onObserve = edit
}

// SetStats is what traffic would do: the peer roams, shakes hands and counts. It reports whether
// the peer is there.
func (d *FakeDevice) SetStats(key wgtypes.Key, s engine.Stats) bool {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	p := d.peers[key]
	if p == nil {
		return false
	}
	p.stats, p.conf.Endpoint = s, s.Endpoint
	return true
}

// Steps counts the steps since the device was made, Configures the calls of Configure that had
// something to do: a device that is as wanted sees none.
func (d *FakeDevice) Steps() int {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return d.steps
}

// Configures counts the calls of Configure.
func (d *FakeDevice) Configures() int {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return d.configures
}

// Write is somebody else's change, as of wg(8): it moves the revision and asks nobody.
func (d *FakeDevice) Write(c engine.Changes) error {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	d.revision++
	return d.applyLocked(c)
}

// Revision grows with each write.
func (d *FakeDevice) Revision() uint64 {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return d.revision
}

// Observe reads the device; see engine.Device.
func (d *FakeDevice) Observe(ctx context.Context) (engine.Observation, error) {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if err := d.readyLocked(ctx); err != nil {
		return engine.Observation{}, err
	}
	o := engine.Observation{Stats: make(map[wgtypes.Key]engine.Stats, len(d.peers))}
	o.Interface = d.settings
	for key, p := range d.peers {
		conf := p.conf
		conf.AllowedIPs = slices.Collect(maps.Keys(p.ips))
		o.Peers = append(o.Peers, conf)
		o.Stats[key] = p.stats
	}
	o.State = engine.Normalize(o.State)
	if d.onObserve != nil {
		if err := d.onObserve(&o); err != nil {
			return engine.Observation{}, err
		}
	}
	return o, nil
}

func (d *FakeDevice) readyLocked(ctx context.Context) error {
	if d.closed {
		return fmt.Errorf("%s: %w", d.settings.Name, engine.ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", d.settings.Name, err)
	}
	return nil
}

// Configure does the changes; see engine.Device.
func (d *FakeDevice) Configure(ctx context.Context, c engine.Changes) error {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if err := d.readyLocked(ctx); err != nil {
		return err
	}
	if c.Interface != nil {
		if err := engine.ValidateInterface(c.Interface.After); err != nil {
			return err
		}
		if port := c.Interface.After.ListenPort; port != 0 {
			if _, err := d.host.portLocked(d.settings.Name, port); err != nil {
				return err
			}
		}
	}
	d.configures++
	d.revision++
	return d.applyLocked(c)
}

func (d *FakeDevice) applyLocked(c engine.Changes) error {
	if c.Interface != nil {
		if err := d.interfaceLocked(*c.Interface); err != nil {
			return err
		}
	}
	for _, p := range c.Peers {
		if err := d.peerLocked(p); err != nil {
			return err
		}
	}
	return nil
}

func (d *FakeDevice) stepLocked() error {
	d.steps++
	err, fails := d.failAt[d.steps]
	delete(d.failAt, d.steps)
	if fails {
		return fmt.Errorf("%s: step %d: %w", d.settings.Name, d.steps, err)
	}
	return nil
}

func (d *FakeDevice) interfaceLocked(c engine.InterfaceChange) error {
	steps := []struct {
		differs bool
		do      func()
	}{
		{!c.After.PrivateKey.Equal(c.Before.PrivateKey), func() { d.keyLocked(c.After.PrivateKey.Clamped()) }},
		{c.After.FwMark != c.Before.FwMark, func() { d.settings.FwMark = c.After.FwMark }},
		{c.After.ListenPort != c.Before.ListenPort, func() {
			d.settings.ListenPort, _ = d.host.portLocked(d.settings.Name, c.After.ListenPort) // a taken port: no socket
		}},
		{c.After.MTU != c.Before.MTU && c.After.MTU != 0, func() { d.settings.MTU = c.After.MTU }},
		{true, func() { d.settings.Addresses = engine.NormalizeAddresses(c.After.Addresses) }},
	}
	for _, s := range steps {
		if !s.differs {
			continue
		}
		if err := d.stepLocked(); err != nil {
			return err
		}
		s.do()
	}
	return nil
}

// keyLocked sets the private key. As in WireGuard, a peer with the interface's own key goes.
func (d *FakeDevice) keyLocked(k engine.SecretKey) {
	d.settings.PrivateKey = k
	d.removeLocked(k.PublicKey())
}

func (d *FakeDevice) removeLocked(key wgtypes.Key) {
	if p := d.peers[key]; p != nil {
		d.clearLocked(p)
		delete(d.peers, key)
	}
}

func (d *FakeDevice) clearLocked(p *fakePeer) {
	for ip := range p.ips {
		delete(d.holders, ip)
	}
	clear(p.ips)
}

// giveLocked moves an allowed IP to p, from whoever has it.
func (d *FakeDevice) giveLocked(ip netip.Prefix, p *fakePeer) {
	if holder := d.holders[ip]; holder != nil {
		delete(holder.ips, ip)
	}
	d.holders[ip] = p
	p.ips[ip] = struct{}{}
}

// peerLocked does what WireGuard does: an update of a peer that is gone and a peer with the
// interface's own key are passed over in silence, an allowed IP moves to who asked last.
func (d *FakeDevice) peerLocked(c engine.PeerChange) error {
	if err := d.stepLocked(); err != nil {
		return err
	}
	p := d.peers[c.Key()]
	own := c.Key() == d.settings.PrivateKey.PublicKey()
	switch {
	case c.After == nil:
		d.removeLocked(c.Key())
		return nil
	case own, p == nil && c.Before != nil:
		return nil
	case p == nil:
		p = &fakePeer{conf: engine.Peer{PublicKey: c.Key()}, ips: make(map[netip.Prefix]struct{})}
		d.peers[c.Key()] = p
	}
	return d.fieldsLocked(p, c)
}

func (d *FakeDevice) fieldsLocked(p *fakePeer, c engine.PeerChange) error {
	want, old, added := c.After, engine.Peer{}, c.Before == nil
	if !added {
		old = *c.Before
	}
	steps := []func(){}
	if added || !want.PresharedKey.Equal(old.PresharedKey) {
		steps = append(steps, func() { p.conf.PresharedKey = want.PresharedKey })
	}
	if want.Endpoint.IsValid() && want.Endpoint != old.Endpoint {
		steps = append(steps, func() { p.conf.Endpoint, p.stats.Endpoint = want.Endpoint, want.Endpoint })
	}
	if added || want.PersistentKeepalive != old.PersistentKeepalive {
		steps = append(steps, func() { p.conf.PersistentKeepalive = want.PersistentKeepalive })
	}
	if added || !slices.Equal(want.AllowedIPs, old.AllowedIPs) {
		steps = append(steps, func() { d.clearLocked(p) })
		for _, ip := range want.AllowedIPs {
			steps = append(steps, func() { d.giveLocked(ip, p) })
		}
	}
	for _, do := range steps {
		if err := d.stepLocked(); err != nil {
			return err
		}
		do()
	}
	return nil
}

// Close takes the interface down; its port is free again.
func (d *FakeDevice) Close(context.Context) error {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	if !d.closed {
		d.closed = true
		d.revision++
		delete(d.host.devices, d.settings.Name)
	}
	return nil
}
