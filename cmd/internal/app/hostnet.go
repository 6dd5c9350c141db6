package app

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

// hooks runs the hooks of an interface on this host.
func hooks(log *slog.Logger) server.HookRunner {
	return server.HookFunc(func(ctx context.Context, iface, command string) error {
		return link.RunHook(ctx, command, iface, log)
	})
}

// network is what the host does around the devices.
func (p *process) network() server.Network {
	if p.kind == engine.KindNetstack {
		return ownStack{p.log}
	}
	return link.NewHost(link.Options{Logger: p.log})
}

// ownStack is the host of devices that are not its own: it knows what its links carry, and nothing is set up on it.
type ownStack struct {
	log *slog.Logger
}

var _ server.Network = ownStack{}

// Choose finds the MTU. A host that does not tell what its routes carry gets the device's default.
func (s ownStack) Choose(ctx context.Context, c link.Config, endpoints []netip.AddrPort) (link.Choice, error) {
	mtu, err := link.ChooseMTU(ctx, c.Addresses, endpoints)
	if err != nil {
		s.log.Warn("the MTU is the default one: this host does not tell what its routes carry", slog.String("interface", c.Interface),
			slog.String("error", err.Error()))
	}
	return link.Choice{MTU: mtu, FwMark: c.FwMark}, nil
}

// Up does nothing.
func (ownStack) Up(context.Context, link.Config) error { return nil }

// Follow does nothing.
func (ownStack) Follow(context.Context, link.Config, link.Config) error { return nil }

// Down does nothing.
func (ownStack) Down(context.Context, link.Config) error { return nil }
