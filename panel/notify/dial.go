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

	"golang.org/x/sync/errgroup"
)

// Limits of a connection and of what precedes it.
const (
	dialTimeout   = 10 * time.Second
	lookupTimeout = 5 * time.Second // of all agents together
	lookups       = 64              // at the same time
	agentsFor     = time.Minute
	agentsAgain   = 10 * time.Second // where the last look-up failed
)

// dial connects where the guard lets it. The address is judged after its name was looked up and before anything is
// sent to it, so that no name can show one address here and another there.
func (n *Notifier) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	g := guard{allow: n.o.Allow}
	if !g.allow.host(host) { // else it may be where an agent answers
		if g.agents, err = n.findAgents(ctx); err != nil {
			return nil, fmt.Errorf("the agents' addresses are not known: %w", err)
		}
	}
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

// agentBook keeps the addresses of the agents' names for a moment: a fleet has many.
type agentBook struct {
	busy  chan struct{}           // capacity 1: full while somebody looks names up, so that many ask once
	known map[string]agentAddress // by name; for who is busy alone
}

// agentAddress is what a name was last known to stand for.
type agentAddress struct {
	addresses []netip.Addr
	until     time.Time // when it is looked up again
}

func newAgentBook() agentBook { return agentBook{busy: make(chan struct{}, 1)} }

// findAgents returns where the agents of now answer. It fails where a name can't be looked up and never could be: its
// address might be the receiver's.
func (n *Notifier) findAgents(ctx context.Context) (agents, error) {
	found, err := n.literalAgents(ctx)
	if err != nil {
		return agents{}, err
	}
	select {
	case n.agents.busy <- struct{}{}:
	case <-ctx.Done():
		return agents{}, ctx.Err()
	}
	defer func() { <-n.agents.busy }()
	if n.agents.known, err = n.lookUp(ctx, found.hosts, n.agents.known); err != nil {
		return agents{}, err
	}
	for _, a := range n.agents.known {
		for _, ip := range a.addresses {
			found.addresses[ip] = true
		}
	}
	return found, n.addOwn(found)
}

// lookUp returns the addresses of the names, those included that came in time where others did not.
func (n *Notifier) lookUp(ctx context.Context, hosts map[string]bool, known map[string]agentAddress) (map[string]agentAddress, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var mu sync.Mutex // protects fresh
	fresh := make(map[string]agentAddress, len(hosts))
	keep := func(host string, a agentAddress) {
		mu.Lock()
		defer mu.Unlock()
		fresh[host] = a
	}
	var names errgroup.Group
	names.SetLimit(lookups)
	for host := range hosts {
		old, ok := known[host]
		if n.o.Now().Before(old.until) {
			keep(host, old)
			continue
		}
		names.Go(func() error {
			all, err := n.addressesOf(ctx, host)
			switch {
			case err == nil:
				keep(host, agentAddress{addresses: all, until: n.o.Now().Add(agentsFor)})
			case ok:
				keep(host, agentAddress{addresses: old.addresses, until: n.o.Now().Add(agentsAgain)})
			default:
				return err
			}
			return nil
		})
	}
	return fresh, names.Wait()
}

// addressesOf looks one name up. That it has no address is known only where a server says so.
func (n *Notifier) addressesOf(ctx context.Context, host string) ([]netip.Addr, error) {
	var all []netip.Addr
	for _, network := range []string{"ip4", "ip6"} { // together, the failure of one would be hidden by the other
		ips, err := n.o.Resolver.LookupNetIP(ctx, network, host)
		missing, isDNS := errors.AsType[*net.DNSError](err)
		_, otherFamily := errors.AsType[*net.AddrError](err)
		if err != nil && !otherFamily && !(isDNS && missing.IsNotFound) {
			return nil, err
		}
		for _, ip := range ips {
			all = append(all, ip.Unmap().WithZone(""))
		}
	}
	return all, nil
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
