package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Limits of a connection and of what precedes it.
const (
	dialTimeout   = 10 * time.Second
	lookupTimeout = 5 * time.Second // of all agents together
	lookups       = 64              // at the same time
	agentsFor     = time.Minute
)

// dial connects where the guard lets it. The address is judged after its name was looked up and before anything is
// sent to it, so that no name can show one address here and another there.
func (n *Notifier) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	found, err := n.findAgents(ctx)
	if err != nil {
		return nil, fmt.Errorf("the agents' addresses are not known: %w", err)
	}
	g := guard{allow: n.o.Allow, agents: found}
	if err := g.checkHost(host); err != nil {
		return nil, err
	}
	d := net.Dialer{
		Timeout: dialTimeout, Resolver: n.o.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return g.check(host, to.Addr())
		},
	}
	return d.DialContext(ctx, network, address)
}

// agentBook keeps where the agents answer for a moment: a fleet has many names.
type agentBook struct {
	mu    sync.Mutex // protects the next two; held over the look-up, so that many ask once
	until time.Time
	found agents
}

// findAgents looks the agents up. A name that can't be looked up now has no address that a receiver could have.
func (n *Notifier) findAgents(ctx context.Context) (agents, error) {
	n.agents.mu.Lock()
	defer n.agents.mu.Unlock()
	if n.o.Now().Before(n.agents.until) {
		return n.agents.found, nil
	}
	found, err := n.literalAgents(ctx)
	if err != nil {
		return agents{}, err
	}
	n.lookUp(ctx, found)
	if err := errors.Join(ctx.Err(), n.addOwn(found)); err != nil {
		return agents{}, err
	}
	n.agents.found, n.agents.until = found, n.o.Now().Add(agentsFor)
	return found, nil
}

// lookUp adds the addresses of the agents' names, as many as come in time.
func (n *Notifier) lookUp(ctx context.Context, found agents) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var mu sync.Mutex // protects found.addresses
	var wg sync.WaitGroup
	slots := make(chan struct{}, lookups)
	for host := range found.hosts {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ips, err := n.o.Resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, ip := range ips {
				found.addresses[ip.Unmap().WithZone("")] = true
			}
		})
	}
	wg.Wait()
}

// literalAgents looks no name up.
func (n *Notifier) literalAgents(ctx context.Context) (agents, error) {
	found := agents{hosts: map[string]bool{}, addresses: map[netip.Addr]bool{}}
	if n.o.Agents == nil {
		return found, nil
	}
	hosts, err := n.o.Agents(ctx)
	for _, host := range hosts {
		if ip, err := netip.ParseAddr(host); err == nil {
			found.addresses[ip.Unmap().WithZone("")] = true
		} else {
			found.hosts[hostKey(host)] = true
		}
	}
	return found, err
}

// addOwn adds the addresses of this host where an agent answers on its loopback: it may answer on all of them.
func (n *Notifier) addOwn(found agents) error {
	for ip := range found.addresses {
		if !ip.IsLoopback() {
			continue
		}
		own, err := n.o.OwnAddresses()
		for _, a := range own {
			found.addresses[a.Unmap().WithZone("")] = true
		}
		return err
	}
	return nil
}

// ownAddresses are those of this host's interfaces.
func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("this host's addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr())
		}
	}
	return out, nil
}
