package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel"
)

// What the first interface is made of.
const (
	firstInterface = "wg0"
	firstAddress   = "10.8.0.1/24"
	firstPort      = 51820
	lastPort       = firstPort + 1000
)

// localHost is this host as the panel sees it.
type localHost struct {
	node  panel.NodeView
	iface agent.InterfaceSummary
}

// ensureLocalNode registers this host as a node, through its agent like any other. Where the host
// has no interface at all, wg0 is made first, so that the first peer can be added at once.
func (p *process) ensureLocalNode(ctx context.Context, service *panel.Service, url string) (localHost, error) {
	c, err := client.New(client.Options{BaseURL: url, Secret: p.Agent.Secret})
	if err != nil {
		return localHost{}, err
	}
	defer c.Close()
	known, err := knownLocalNode(ctx, service)
	if err != nil {
		return localHost{}, err
	}
	iface, err := p.localInterface(ctx, c, known.WGInterface)
	if err != nil {
		return localHost{}, fmt.Errorf("this host's agent at %s: %w", url, err)
	}
	if iface.Name == "" {
		p.log.Warn("the interface of this host's node is not there: put its file back", slog.String("interface", known.WGInterface),
			slog.String("conf_dir", p.ConfDir))
		return localHost{node: known}, nil
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "this-host"
	}
	node, err := service.EnsureLocalNode(ctx, panel.LocalNode{
		Name: name, AgentURL: url, Secret: p.Agent.Secret, WGInterface: iface.Name, IPPools: poolsOf(iface), Endpoint: outbound(ctx),
	})
	if err != nil {
		return localHost{}, fmt.Errorf("register this host as a node: %w", err)
	}
	return localHost{node: node, iface: iface}, nil
}

// knownLocalNode is this host's node of an earlier start; the zero value where there was none.
func knownLocalNode(ctx context.Context, service *panel.Service) (panel.NodeView, error) {
	nodes, _, err := service.Nodes(ctx, panel.Page{})
	if err != nil {
		return panel.NodeView{}, fmt.Errorf("list the nodes: %w", err)
	}
	if i := slices.IndexFunc(nodes, func(n panel.NodeView) bool { return n.IsPanelNode }); i >= 0 {
		return nodes[i], nil
	}
	return panel.NodeView{}, nil
}

// localInterface returns the interface known from an earlier start, else wg0, else the first one,
// else makes wg0. A known one that is not there is never made anew: that would be another identity
// under its name. The zero value says so.
func (p *process) localInterface(ctx context.Context, c *client.Client, known string) (agent.InterfaceSummary, error) {
	list, err := c.Interfaces(ctx)
	if err != nil {
		return agent.InterfaceSummary{}, err
	}
	for _, name := range []string{known, firstInterface} {
		if i := slices.IndexFunc(list, func(s agent.InterfaceSummary) bool { return s.Name == name }); i >= 0 {
			return list[i], nil
		}
	}
	if len(list) > 0 {
		return list[0], nil
	}
	if known != "" {
		return agent.InterfaceSummary{}, nil
	}
	if err := p.makeInterface(ctx, c); err != nil {
		return agent.InterfaceSummary{}, fmt.Errorf("make %s: %w", firstInterface, err)
	}
	return c.Interface(ctx, firstInterface)
}

// makeInterface makes wg0 and brings it up on the first UDP port that is free. A port that was free
// a moment ago may be taken by now: then the next one is tried.
func (p *process) makeInterface(ctx context.Context, c *client.Client) error {
	key, err := engine.GeneratePrivateKey()
	if err != nil {
		return err
	}
	text, address := key.Reveal().String(), firstAddress
	if p.kind == engine.KindNetstack || hostHasIPv6() {
		address += ", " + randomULA().String()
	}
	for port := range freePorts(ctx) {
		err := c.PutConfig(ctx, firstInterface, agent.ConfigUpdate{PrivateKey: &text, ListenPort: &port, Address: &address})
		if err == nil {
			err = c.Enable(ctx, firstInterface)
		}
		if e, ok := errors.AsType[*client.Error](err); ok && e.Agent != nil && e.Agent.Code == agent.CodePortInUse {
			continue
		}
		if err == nil {
			p.log.Info("the first interface was made", slog.String("interface", firstInterface), slog.Int("listen_port", port),
				slog.String("address", address))
		}
		return err
	}
	return fmt.Errorf("no UDP port from %d to %d is free", firstPort, lastPort)
}

// freePorts yields the UDP ports from 51820 that can be bound.
func freePorts(ctx context.Context) iter.Seq[int] {
	return func(yield func(int) bool) {
		var lc net.ListenConfig
		for port := firstPort; port <= lastPort; port++ {
			c, err := lc.ListenPacket(ctx, "udp", fmt.Sprintf(":%d", port))
			if err != nil {
				continue
			}
			if err := c.Close(); err != nil {
				continue
			}
			if !yield(port) {
				return
			}
		}
	}
}

// randomULA is the first address of a random /64 as RFC 4193 makes them.
func randomULA() netip.Prefix {
	a := [16]byte{0: 0xfd, 15: 1}
	rand.Read(a[1:8]) // never fails, see crypto/rand
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// outbound is the address that this host shows to the Internet, as far as it can know: behind NAT
// it is another. Nothing is sent. "" where the host has no route.
func outbound(ctx context.Context) string {
	var d net.Dialer
	for _, documentation := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // RFC 5737, RFC 3849
		if c, err := d.DialContext(ctx, "udp", documentation); err == nil {
			defer c.Close()
			return c.LocalAddr().(*net.UDPAddr).IP.String() //nolint:forcetypeassert // of a UDP connection
		}
	}
	return ""
}

// hostHasIPv6 reports whether interfaces of this host may have IPv6 addresses.
func hostHasIPv6() bool {
	off, err := os.ReadFile("/proc/sys/net/ipv6/conf/default/disable_ipv6")
	return err == nil && strings.TrimSpace(string(off)) == "0"
}

// poolsOf takes the first network of each family that the interface is in.
func poolsOf(i agent.InterfaceSummary) []netip.Prefix {
	var pools []netip.Prefix
	seen := map[bool]bool{}
	for _, text := range i.Addresses {
		a, err := netip.ParsePrefix(text)
		if err != nil || a.IsSingleIP() || seen[a.Addr().Is4()] {
			continue
		}
		seen[a.Addr().Is4()] = true
		pools = append(pools, a.Masked())
	}
	return pools
}
