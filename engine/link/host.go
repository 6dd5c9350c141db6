package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
)

// Config is what an interface needs of its host beside the device itself: the rest of a
// wg-quick(8) file. The lists are in the order of the file.
type Config struct {
	Interface  string
	Addresses  []netip.Prefix // of the device
	Table      string         // "" and "auto", "off", or the number or name of a routing table
	FwMark     uint32         // of the device; 0: none
	AllowedIPs []netip.Prefix // of all peers
	DNS        []netip.Addr
	Search     []string // domains; they count only where DNS is not empty

	// Forward and Masquerade name the links that packets from the interface may leave by, and those
	// behind which they are given the host's address; nil: not asked for, {Any}: every link.
	Forward    []string
	Masquerade []string
}

// Any stands for every link in Config.Forward and Config.Masquerade.
const Any = "any"

// Defaults of Options.
const (
	DefaultRunDir     = "/run/wgfleet"
	DefaultResolvConf = "/etc/resolv.conf"
)

// Options of a Host. The zero value of each field is its default.
type Options struct {
	Logger     *slog.Logger
	RunDir     string // what must be known to take an interface down, until the next boot
	ResolvConf string
}

// Host is the network of this host around its WireGuard interfaces: what wg-quick(8) sets and what
// it takes back. What one of the two brought up the other can take down. It is safe for concurrent
// use, but the calls for one interface must not overlap.
type Host struct {
	o     Options
	dnsMu sync.Mutex // protects the stack of mounts over Options.ResolvConf
	rules sync.Mutex // one change at a time of the routing rules that interfaces share
}

// NewHost returns a Host; nothing is looked at or changed.
func NewHost(o Options) *Host {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.RunDir == "" {
		o.RunDir = DefaultRunDir
	}
	if o.ResolvConf == "" {
		o.ResolvConf = DefaultResolvConf
	}
	return &Host{o: o}
}

// Choice is what wg-quick(8) finds by itself where the file does not say it.
type Choice struct {
	MTU    int    // bytes
	FwMark uint32 // 0: none is needed
}

// part is one thing that is set on the host. down works without an up before it, for interfaces that
// another process or wg-quick(8) brought up, and is content where there is nothing to take back.
type part struct {
	name     string
	up, down func(context.Context, Config) error
}

// parts are in the order in which wg-quick(8) sets them.
func (h *Host) parts() []part {
	return []part{
		{"DNS", h.setDNS, h.unsetDNS},
		{"routes", h.setRoutes, h.unsetRoutes},
		{"forwarding", h.setForwarding, h.unsetForwarding},
	}
}

// Up sets what c asks for, for an interface that is up with its peers. What is there already, left
// by a process that was killed, is taken over. On an error nothing is left.
func (h *Host) Up(ctx context.Context, c Config) error {
	parts := h.parts()
	for i, p := range parts {
		if err := p.up(ctx, c); err != nil {
			err = fmt.Errorf("set the %s of %s: %w", p.name, c.Interface, err)
			return errors.Join(err, down(context.WithoutCancel(ctx), parts[:i+1], c))
		}
	}
	return nil
}

// Follow is for an interface that Up was called for: the routes follow the allowed IPs of the peers
// from before to after, and IPv6 is forwarded with the first of them that needs it. Default routes are
// Up's alone. It goes on past what fails.
func (h *Host) Follow(ctx context.Context, before, after Config) error {
	return errors.Join(h.followRoutes(ctx, before, after), h.followForwarding(ctx, before, after))
}

// Down takes back what would stay when the link goes, while the link is still there. It goes on
// past what fails.
func (h *Host) Down(ctx context.Context, c Config) error { return down(ctx, h.parts(), c) }

func down(ctx context.Context, parts []part, c Config) error {
	var errs []error
	for _, p := range slices.Backward(parts) {
		if err := p.down(ctx, c); err != nil {
			errs = append(errs, fmt.Errorf("take back the %s of %s: %w", p.name, c.Interface, err))
		}
	}
	return errors.Join(errs...)
}
