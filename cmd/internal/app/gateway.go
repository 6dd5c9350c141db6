package app

import (
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
)

// GatewaySettings are those of the netstack backend's gateway.
type GatewaySettings struct {
	Enabled     bool
	Allow, Deny []engine.AccessRule
	Limits      engine.Limits
	Memory      int64 // bytes; engine.NoLimit: not bounded
	Resolver    bool
}

// options are nil where no gateway is wanted.
func (g GatewaySettings) options() *gateway.Options {
	if !g.Enabled {
		return nil
	}
	return &gateway.Options{Limits: g.Limits, Memory: max(g.Memory, 0)}
}

// boundMemory lets the collector work harder near the limit above which no flow begins.
func (g GatewaySettings) boundMemory() {
	if g.Enabled && g.Memory > 0 {
		debug.SetMemoryLimit(g.Memory)
	}
}

func (p *problems) gateway() GatewaySettings {
	g := GatewaySettings{
		Enabled: p.toggle(keyGateway), Resolver: p.toggle(keyGatewayResolver),
		Allow: p.rules(keyGatewayAllow), Deny: p.rules(keyGatewayDeny),
	}
	var err error
	if g.Limits, err = engine.ParseLimits(p.values[keyGatewayLimit]); err != nil {
		p.add(keyGatewayLimit, "%v", err)
	}
	if g.Memory, err = engine.ParseBytes(p.values[keyGatewayMemory]); err != nil {
		p.add(keyGatewayMemory, "%v", err)
	}
	return g
}

func (p *problems) rules(key string) []engine.AccessRule {
	var out []engine.AccessRule
	for text := range strings.SplitSeq(p.values[key], ";") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		r, err := engine.ParseAccessRule(text)
		if err != nil {
			p.add(key, "%v", err)
		}
		out = append(out, r)
	}
	return out
}

// ownPorts are where this process listens; a gateway keeps peers away from them.
type ownPorts struct {
	mu  sync.Mutex // protects all
	all []uint16
}

func (o *ownPorts) add(l net.Listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, addrOf(l).Port())
}

func (o *ownPorts) list() []uint16 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.all)
}
