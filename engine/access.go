package engine

import (
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Protocol is what a flow speaks, by its IANA number; ICMP stands for ICMPv6 as well.
type Protocol uint8

// The protocols that a gateway carries.
const (
	ProtocolAny  Protocol = 0
	ProtocolICMP Protocol = 1
	ProtocolTCP  Protocol = 6
	ProtocolUDP  Protocol = 17
)

// PortRange is first to last, both included.
type PortRange struct{ First, Last uint16 }

// AccessRule names destinations beyond the tunnel.
type AccessRule struct {
	Prefix   netip.Prefix // masked; the zero value: any address
	Protocol Protocol
	Ports    []PortRange // empty: all; only with TCP and UDP
}

// Limits bound what a peer may ask of a gateway. 0 is the gateway's default, -1 is no limit.
type Limits struct {
	Connections int   // flows at the same time
	Rate        int   // new flows a second
	Bandwidth   int64 // bytes a second, both directions together
}

// Access is where a peer may go, and how much of it.
type Access struct {
	Allow  []AccessRule
	Deny   []AccessRule
	Limits Limits
}

// AccessPolicy is what the peers of an interface may reach through a gateway. It is plain data; see Decide.
type AccessPolicy struct {
	Node  Access
	Peers map[wgtypes.Key]Access
	// HostAddresses and OwnPorts are where the agent and the panel of this host listen.
	HostAddresses []netip.Addr
	OwnPorts      []uint16
}

// Refusal is the reason why a packet or a flow was not carried, as it stands in metrics; "" where it was.
type Refusal string

// The reasons for which a destination is refused.
const (
	RefusedDenied    Refusal = "denied"     // a deny list names it
	RefusedNotListed Refusal = "not_listed" // the allow list does not
	RefusedProtected Refusal = "protected"  // loopback, link-local, metadata, multicast: no allow list names it
	RefusedOwnPort   Refusal = "own_port"   // the agent's or the panel's own
)
