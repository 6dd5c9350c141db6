package gateway

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/wgfleet/wgfleet/engine"
)

// services are what the gateway does beside carrying: published ports, and the resolver.
type services struct {
	mu      sync.Mutex // protects running, and is held by who changes it
	running map[string]context.CancelFunc
}

const resolverService = "resolver"

func (s *services) start() { s.running = make(map[string]context.CancelFunc) }

// serve ends the services that are wanted no more and begins those that do not run yet.
func (g *Gateway) serve(c engine.GatewayConfig) error {
	wanted := make(map[string]func(context.Context) error, len(c.Published)+1)
	for _, p := range c.Published {
		wanted[p.String()] = func(ctx context.Context) error { return g.publish(ctx, p) }
	}
	if c.Resolver {
		wanted[resolverService] = g.resolve
	}
	g.services.mu.Lock()
	defer g.services.mu.Unlock()
	for name, stop := range g.services.running {
		if wanted[name] == nil {
			stop()
			delete(g.services.running, name)
		}
	}
	var errs []error
	for name, begin := range wanted {
		if g.services.running[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(g.running)
		if err := begin(ctx); err != nil {
			stop()
			errs = append(errs, err)
			continue
		}
		g.services.running[name] = stop
	}
	return errors.Join(errs...)
}

// closeAfter closes something when ctx ends.
func closeAfter(ctx context.Context, c io.Closer) {
	context.AfterFunc(ctx, func() { c.Close() })
}
