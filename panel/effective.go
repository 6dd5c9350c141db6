package panel

import (
	"net"
	"strconv"

	"github.com/wgfleet/wgfleet/panel/drift"
)

// effective resolves a peer's settings: its own field, else the node's override, else the default.
func effective(n Node, p Peer) Effective {
	return Effective{
		DNS:               first(DefaultDNS, p.DNS, n.Overrides.DNS),
		MTU:               first(DefaultMTU, p.MTU, n.Overrides.MTU),
		Keepalive:         first(DefaultKeepalive, p.Keepalive, n.Overrides.Keepalive),
		EndpointAllowedIP: first(DefaultEndpointAllowedIP, p.EndpointAllowedIP, n.Overrides.EndpointAllowedIP),
		Endpoint:          n.dialed(),
	}
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
	return i
}
