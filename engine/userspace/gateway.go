package userspace

import (
	"context"
	"fmt"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
)

// Flows lists what the gateway carries; see engine.Gateway.
func (d *Device) Flows(ctx context.Context) ([]engine.Flow, error) {
	g, done, err := d.useGateway(ctx, "list the flows of")
	if err != nil {
		return nil, err
	}
	defer done()
	return g.Flows(), nil
}

// GatewayStats counts; see engine.Gateway.
func (d *Device) GatewayStats(ctx context.Context) (engine.GatewayStats, error) {
	g, done, err := d.useGateway(ctx, "count the flows of")
	if err != nil {
		return engine.GatewayStats{}, err
	}
	defer done()
	return g.Stats(), nil
}

// SetGateway replaces the gateway's configuration; see engine.Gateway.
func (d *Device) SetGateway(ctx context.Context, c engine.GatewayConfig) error {
	g, done, err := d.useGateway(ctx, "configure the gateway of")
	if err != nil {
		return err
	}
	defer done()
	return g.Set(c)
}

// useGateway keeps the device open until done is called.
func (d *Device) useGateway(ctx context.Context, what string) (g *gateway.Gateway, done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, d.fail(what, err)
	}
	if g = d.carrier.gateway(); g == nil {
		return nil, nil, d.fail(what, fmt.Errorf("%w: no gateway runs on it", engine.ErrUnsupported))
	}
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return nil, nil, d.fail(what, engine.ErrClosed)
	}
	return g, d.mu.RUnlock, nil
}

// follow tells the gateway of a change of the peers.
func (d *Device) follow(changes []engine.PeerChange) {
	if g := d.carrier.gateway(); g != nil {
		g.ChangePeers(changes)
	}
}

// refollow tells the gateway of the peers that there are, after a write that may have been done in part or was
// made by others.
func (d *Device) refollow() {
	g := d.carrier.gateway()
	if g == nil {
		return
	}
	var text strings.Builder
	if d.dev.IpcGetOperation(&text) != nil {
		return // the device is closed, and with it the gateway
	}
	if o, err := parse(text.String()); err == nil {
		g.SetPeers(o.Peers)
	}
}
