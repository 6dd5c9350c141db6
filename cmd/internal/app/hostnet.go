package app

import (
	"context"
	"log/slog"

	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

// host does on this host what wg-quick(8) does beside the device.
type host struct {
	log *slog.Logger
}

var (
	_ server.HookRunner = host{}
	_ server.Network    = host{}
)

// RunHook runs one hook.
func (h host) RunHook(ctx context.Context, iface, command string) error {
	return link.RunHook(ctx, command, iface, h.log)
}

// Up sets the routes of an interface. A route that can't be set is logged and does not keep the
// interface down: the peers that have theirs are better off.
func (h host) Up(_ context.Context, n server.NetworkConfig) error {
	if n.Table == "" || n.Table == "auto" {
		if err := link.SetRoutes(n.Interface, n.AllowedIPs); err != nil {
			h.log.Warn("some routes were not set", slog.String("interface", n.Interface), slog.String("error", oneLine(err)))
		}
	} else if n.Table != "off" {
		h.log.Warn("no routes were set: only Table = auto and off are known", slog.String("interface", n.Interface), slog.String("table", n.Table))
	}
	if len(n.DNS) > 0 {
		h.log.Warn("DNS of an interface is for clients: this host's resolver was not changed", slog.String("interface", n.Interface))
	}
	return nil
}

// Down has nothing to do: routes go with their interface.
func (host) Down(context.Context, server.NetworkConfig) error { return nil }

// network is nil where the devices are not the host's.
func (p *process) network() server.Network {
	if p.kind == engine.KindNetstack {
		return nil
	}
	return host{p.log}
}
