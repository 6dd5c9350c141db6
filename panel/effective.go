package panel

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/wgfleet/wgfleet/panel/drift"
)

// effective resolves a peer's settings.
func effective(n Node, p Peer) Effective {
	e := Effective{
		DNS: DefaultDNS, MTU: DefaultMTU, Keepalive: DefaultKeepalive, EndpointAllowedIP: DefaultEndpointAllowedIP, Endpoint: n.dialed(),
	}
	ls := n.layers(p)
	for _, l := range slices.Backward(ls[:]) {
		e.DNS, e.MTU = first(e.DNS, l.DNS), first(e.MTU, l.MTU)
		e.Keepalive = first(e.Keepalive, l.Keepalive)
		e.EndpointAllowedIP = first(e.EndpointAllowedIP, l.EndpointAllowedIP)
	}
	return e
}

// layers are the places that may give a setting, the one that wins first. What none gives is the panel's
// default. The order of sources is the same.
func (n Node) layers(p Peer) [5]Values {
	return [...]Values{
		p.values(), n.presets.template(p.TemplateID).Values,
		n.Overrides.values(), n.presets.template(n.TemplateID).Values, n.presets.group(n.GroupID),
	}
}

func (p Peer) values() Values {
	return Values{DNS: p.DNS, MTU: p.MTU, Keepalive: p.Keepalive, EndpointAllowedIP: p.EndpointAllowedIP}
}

func (o Overrides) values() Values {
	return Values{DNS: o.DNS, MTU: o.MTU, Keepalive: o.Keepalive, EndpointAllowedIP: o.EndpointAllowedIP}
}

// pools are the node's own, else those of its template.
func (n Node) pools() []netip.Prefix {
	if len(n.IPPools) > 0 {
		return n.IPPools
	}
	return n.presets.template(n.TemplateID).IPPools
}

// first returns the first value that is given.
func first[T any](fallback T, values ...*T) T {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return fallback
}

// listenPort is what the panel wants, else what was last seen; 0: not known.
func (n Node) listenPort() int {
	return first(n.SeenListenPort, n.Overrides.ListenPort, n.Wish.ListenPort)
}

// dialed is the endpoint as host:port; "" where the node names none or the port is not known.
func (n Node) dialed() string {
	if n.Endpoint == "" {
		return ""
	}
	host, port := splitEndpoint(n.Endpoint)
	if port == "" {
		p := n.listenPort()
		if p == 0 {
			return ""
		}
		port = strconv.Itoa(p)
	}
	return net.JoinHostPort(host, port)
}

// publicKey is what the panel wants, else what was last seen; "": not known.
func (n Node) publicKey() string { return first(n.SeenPublicKey, n.Wish.PublicKey) }

// interfaceWish is what is compared with the node's interface.
func (n Node) interfaceWish() drift.Interface {
	i := drift.Interface(n.Wish)
	if n.Overrides.ListenPort != nil {
		i.ListenPort = n.Overrides.ListenPort
	}
	if i.Hooks == nil {
		i.Hooks = n.presets.template(n.TemplateID).Hooks
	}
	return i
}
