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
	running map[string]*service
}

// service is one of them.
type service struct {
	ctx     context.Context // ends with it
	cancel  context.CancelFunc
	closers []io.Closer
}

const resolverService = "resolver"

func (s *services) start() { s.running = make(map[string]*service) }

// closes something with the service, also where that ends with the gateway.
func (s *service) closes(c io.Closer) {
	s.closers = append(s.closers, c)
	context.AfterFunc(s.ctx, func() { c.Close() })
}

// stop ends it; its ports are free when stop returns.
func (s *service) stop() {
	s.cancel()
	for _, c := range s.closers {
		c.Close()
	}
}

// serve ends the services that are wanted no more and begins those that do not run yet.
func (g *Gateway) serve(c engine.GatewayConfig) error {
	wanted := make(map[string]func(*service) error, len(c.Published)+1)
	for _, p := range c.Published {
		wanted[p.String()] = func(s *service) error { return g.publish(s, p) }
	}
	if c.Resolver {
		wanted[resolverService] = g.resolve
	}
	g.services.mu.Lock()
	defer g.services.mu.Unlock()
	for name, s := range g.services.running {
		if wanted[name] == nil {
			s.stop()
			delete(g.services.running, name)
		}
	}
	var errs []error
	for name, begin := range wanted {
		if g.services.running[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(g.running)
		s := &service{ctx: ctx, cancel: cancel}
		if err := begin(s); err != nil {
			s.stop()
			errs = append(errs, err)
			continue
		}
		g.services.running[name] = s
	}
	return errors.Join(errs...)
}
