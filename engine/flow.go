package engine

import (
	"context"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Flow is one conversation that a gateway carries now.
type Flow struct {
	Peer        wgtypes.Key // who began it; of a published port: who is reached
	Protocol    Protocol
	Direction   Direction
	Source      netip.AddrPort // with ICMP the port is the identifier
	Destination netip.AddrPort // with ICMP the port is 0
	Opened      time.Time
	LastUsed    time.Time
	TxBytes     int64 // from source to destination: of payload, between peers of whole packets
	RxBytes     int64 // back
}

// Direction says between whom a flow is.
type Direction string

// The directions.
const (
	DirectionOut  Direction = "out"  // from a peer to what the host reaches
	DirectionIn   Direction = "in"   // from a published port of the host to a peer
	DirectionPeer Direction = "peer" // from a peer to another
)

// GatewayCounters are what a gateway did for one peer since it began.
type GatewayCounters struct {
	Flows    int // now
	Opened   int64
	TxBytes  int64 // from the peer
	RxBytes  int64 // to the peer
	Failures int64 // flows that the network refused or did not answer
	Refused  map[Refusal]int64
}

// GatewayStats are what a gateway did since it began.
type GatewayStats struct {
	Peers map[wgtypes.Key]GatewayCounters
	// Drops are packets that were lost here, by reason: they are nobody's.
	Drops map[string]int64
}

// Published is a port of the host that leads to a peer.
type Published struct {
	Protocol Protocol       // TCP or UDP
	Listen   netip.AddrPort // the zero address: all of the host's
	Target   netip.AddrPort // inside the tunnel
}

// GatewayConfig is what a gateway does beside carrying.
type GatewayConfig struct {
	Access    AccessPolicy
	Published []Published
	Resolver  bool // answer DNS on the node's own addresses out of what the host's resolvers say
}

// Gateway is a Device that carries its peers' packets to what the host reaches, from the first SetGateway on.
type Gateway interface {
	Device
	// Flows lists what is carried now, the oldest first. Errors: ErrUnsupported where no gateway runs, ErrClosed.
	Flows(ctx context.Context) ([]Flow, error)
	// GatewayStats counts. Errors: as Flows.
	GatewayStats(ctx context.Context) (GatewayStats, error)
	// SetGateway replaces the configuration; flows that it forbids end. Errors: as Flows, *FieldError for a port of the
	// host that can't be published: all else is in force then.
	SetGateway(ctx context.Context, c GatewayConfig) error
}
