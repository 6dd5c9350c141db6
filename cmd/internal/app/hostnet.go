package app

import (
	"context"
	"log/slog"

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

// network is nil where the devices are not the host's.
func (p *process) network() server.Network {
	if p.kind == engine.KindNetstack {
		return nil
	}
	return link.NewHost(link.Options{Logger: p.log})
}
