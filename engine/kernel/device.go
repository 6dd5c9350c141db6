package kernel

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

// Device is one interface of the host.
type Device struct {
	name   string
	kind   engine.Kind
	closed atomic.Bool
}

var _ engine.Kinded = (*Device)(nil)

// Kind is engine.KindKernel, or engine.KindUserspace for a device of another process.
func (d *Device) Kind() engine.Kind { return d.kind }

// with runs f with a client that lives as long as f: it belongs to the network namespace that is
// current now.
func (d *Device) with(ctx context.Context, what string, f func(*wgctrl.Client) error) error {
	if err := d.ready(ctx, what); err != nil {
		return err
	}
	c, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, d.name, err)
	}
	defer func() { _ = c.Close() }()
	if err := f(c); err != nil {
		return deviceError(what, d.name, err)
	}
	return nil
}

// Observe reads the device; see engine.Device.
func (d *Device) Observe(ctx context.Context) (o engine.Observation, err error) {
	err = d.with(ctx, "observe", func(c *wgctrl.Client) error {
		read, err := c.Device(d.name)
		if err != nil {
			return err
		}
		o = observation(read)
		return nil
	})
	if err != nil {
		return engine.Observation{}, err
	}
	if err := d.readLink(&o.Interface); err != nil {
		return engine.Observation{}, err
	}
	return o, nil
}

func observation(d *wgtypes.Device) engine.Observation {
	o := engine.Observation{Stats: make(map[wgtypes.Key]engine.Stats, len(d.Peers))}
	o.Interface = engine.Interface{
		Name: d.Name, PrivateKey: engine.NewSecretKey(d.PrivateKey),
		ListenPort: uint16(d.ListenPort), FwMark: uint32(d.FirewallMark),
	}
	o.Peers = make([]engine.Peer, 0, len(d.Peers))
	for _, p := range d.Peers {
		peer := engine.Peer{
			PublicKey: p.PublicKey, PresharedKey: engine.NewSecretKey(p.PresharedKey),
			PersistentKeepalive: int(p.PersistentKeepaliveInterval / time.Second),
			AllowedIPs:          make([]netip.Prefix, 0, len(p.AllowedIPs)),
		}
		if p.Endpoint != nil {
			e := p.Endpoint.AddrPort()
			peer.Endpoint = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
		}
		for _, n := range p.AllowedIPs {
			a, _ := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			peer.AllowedIPs = append(peer.AllowedIPs, netip.PrefixFrom(a.Unmap(), bits))
		}
		s := engine.Stats{Endpoint: peer.Endpoint, RxBytes: p.ReceiveBytes, TxBytes: p.TransmitBytes}
		if t := p.LastHandshakeTime; !t.IsZero() && t.UnixNano() != 0 {
			s.LastHandshake = t
		}
		o.Peers = append(o.Peers, peer)
		o.Stats[p.PublicKey] = s
	}
	o.State = engine.Normalize(o.State)
	return o
}

// Configure does the changes; see engine.Device. It stops between two messages when ctx ends.
func (d *Device) Configure(ctx context.Context, c engine.Changes) error {
	if i := c.Interface; i != nil {
		if err := engine.ValidateInterface(i.After); err != nil {
			return err
		}
		if i.After.ListenPort != i.Before.ListenPort && i.Before.Name != "" {
			if err := probe(d.name, i.After.ListenPort); err != nil {
				return err
			}
		}
		if movesAddresses(*i) {
			if err := link.CheckAddresses(d.name, i.After.Addresses); err != nil {
				return err
			}
		}
	}
	err := d.with(ctx, "configure", func(client *wgctrl.Client) error {
		for conf := range messages(config(c)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := client.ConfigureDevice(d.name, conf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || c.Interface == nil {
		return err
	}
	return d.configureLink(*c.Interface)
}

func (d *Device) configureLink(c engine.InterfaceChange) error {
	if c.After.MTU != c.Before.MTU && c.After.MTU != 0 {
		if err := link.SetMTU(d.name, c.After.MTU); err != nil {
			return err
		}
	}
	if !movesAddresses(c) {
		return nil
	}
	return link.SetAddresses(d.name, c.After.Addresses)
}

func movesAddresses(c engine.InterfaceChange) bool {
	return !slices.Equal(engine.NormalizeAddresses(c.Before.Addresses), engine.NormalizeAddresses(c.After.Addresses))
}

func config(c engine.Changes) wgtypes.Config {
	var conf wgtypes.Config
	if i := c.Interface; i != nil {
		if !i.After.PrivateKey.Equal(i.Before.PrivateKey) {
			conf.PrivateKey = new(i.After.PrivateKey.Reveal())
		}
		if i.After.ListenPort != i.Before.ListenPort {
			conf.ListenPort = new(int(i.After.ListenPort))
		}
		if i.After.FwMark != i.Before.FwMark {
			conf.FirewallMark = new(int(i.After.FwMark))
		}
	}
	given := given(c.Peers)
	conf.Peers = make([]wgtypes.PeerConfig, len(c.Peers))
	for n, p := range c.Peers {
		conf.Peers[n] = peerConfig(p, given)
	}
	return conf
}

// What wgctrl puts into one message: above either it sends one for each peer, and each with the settings
// of the interface.
const (
	messagePeers = 32
	messageIPs   = 256
)

// messages cuts a configuration into pieces that are one message each, in their order. A peer with more
// allowed IPs than one message holds is a piece of its own, which wgctrl cuts further.
func messages(conf wgtypes.Config) iter.Seq[wgtypes.Config] {
	return func(yield func(wgtypes.Config) bool) {
		peers := conf.Peers
		for first := true; first || len(peers) > 0; first = false {
			n, ips := 0, 0
			for n < min(len(peers), messagePeers) {
				if ips += len(peers[n].AllowedIPs); ips > messageIPs && n > 0 {
					break
				}
				n++
			}
			conf.Peers, peers = peers[:n], peers[n:]
			if !yield(conf) {
				return
			}
			conf = wgtypes.Config{}
		}
	}
}

// given is the set of the allowed IPs that some peer gets. WireGuard takes each from whoever has it.
func given(changes []engine.PeerChange) map[netip.Prefix]bool {
	out := map[netip.Prefix]bool{}
	for _, c := range changes {
		var before, after []netip.Prefix
		if c.Before != nil {
			before = c.Before.AllowedIPs
		}
		if c.After != nil {
			after = c.After.AllowedIPs
		}
		for _, ip := range missing(before, after) {
			out[ip] = true
		}
	}
	return out
}

// missing returns what of want is not in have.
func missing(have, want []netip.Prefix) (out []netip.Prefix) {
	if slices.Equal(have, want) {
		return nil
	}
	has := make(map[netip.Prefix]bool, len(have))
	for _, ip := range have {
		has[ip] = true
	}
	for _, ip := range want {
		if !has[ip] {
			out = append(out, ip)
		}
	}
	return out
}

// peerConfig says everything of a new peer and what differs of a known one. An update never makes a
// peer that is gone; zero values are said, since nil means unchanged.
func peerConfig(c engine.PeerChange, given map[netip.Prefix]bool) wgtypes.PeerConfig {
	conf := wgtypes.PeerConfig{PublicKey: c.Key(), UpdateOnly: c.Before != nil, Remove: c.After == nil}
	if c.After == nil {
		return conf
	}
	p, old, added := *c.After, engine.Peer{}, c.Before == nil
	if !added {
		old = *c.Before
	}
	if added || !p.PresharedKey.Equal(old.PresharedKey) {
		conf.PresharedKey = new(p.PresharedKey.Reveal())
	}
	if added || p.PersistentKeepalive != old.PersistentKeepalive {
		conf.PersistentKeepaliveInterval = new(time.Duration(p.PersistentKeepalive) * time.Second)
	}
	if p.Endpoint.IsValid() && p.Endpoint != old.Endpoint {
		conf.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
	}
	var ips []netip.Prefix
	ips, conf.ReplaceAllowedIPs = allowedIPs(old.AllowedIPs, p.AllowedIPs, given)
	conf.ReplaceAllowedIPs = conf.ReplaceAllowedIPs || added
	for _, ip := range ips {
		conf.AllowedIPs = append(conf.AllowedIPs, net.IPNet{
			IP: ip.Addr().AsSlice(), Mask: net.CIDRMask(ip.Bits(), ip.Addr().BitLen()),
		})
	}
	return conf
}

// allowedIPs returns what to say of a peer's allowed IPs, and whether that replaces those that it has. A
// replaced list is empty for a moment, in which the peer's packets are lost: so only where an allowed IP
// goes that nobody else gets.
func allowedIPs(before, after []netip.Prefix, given map[netip.Prefix]bool) (say []netip.Prefix, replace bool) {
	for _, ip := range missing(after, before) {
		if !given[ip] {
			return after, true
		}
	}
	return missing(before, after), false
}

// Close deletes the link, of an interface that was attached too; the process behind a userspace
// device sees it go. A device without a link here cannot be closed from outside: engine.ErrUnsupported.
func (d *Device) Close(ctx context.Context) error {
	if d.closed.Load() {
		return nil
	}
	d.clearPeers(context.WithoutCancel(ctx))
	err := link.Delete(d.name)
	if errors.Is(err, engine.ErrUnknownInterface) {
		if answers(d.name) {
			return fmt.Errorf("%w: %s has no link, its process must close it", engine.ErrUnsupported, d.name)
		}
		err = nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	d.closed.Store(true)
	return d.ended(ctx)
}

// endsWithin bounds how long the process behind a userspace device may take to see its link gone.
const endsWithin = 5 * time.Second

// ended waits until nobody serves the interface any more: before that its name is not free.
func (d *Device) ended(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endsWithin)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for answers(d.name) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: the link %s is deleted, but a process still serves it in %s", engine.ErrUnsupported, d.name, socketDir)
		}
	}
	return nil
}

// clearPeers takes the peers of a kernel link first. Those that it still has when it is deleted cost a
// grace period of RCU each, 17 s for 1,000; here the kernel may hurry, as it holds the lock of all links.
// Where this fails, the deletion does it or says what is wrong.
func (d *Device) clearPeers(ctx context.Context) {
	if l, err := netlink.LinkByName(d.name); err == nil && l.Type() == linkType {
		_ = d.with(ctx, "clear", func(c *wgctrl.Client) error {
			return c.ConfigureDevice(d.name, wgtypes.Config{ReplacePeers: true})
		})
	}
}
