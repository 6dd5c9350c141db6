package engine

import (
	"context"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Flow is one conversation that a gateway carries now.
type Flow struct {
	Peer        wgtypes.Key // who began it; of a forwarded port: who is reached
	Protocol    Protocol
	Direction   Direction
	Source      netip.AddrPort // port 0 with ICMP
	Destination netip.AddrPort
	Opened      time.Time
	LastUsed    time.Time
	TxBytes     int64 // payload from source to destination
	RxBytes     int64 // payload back
}

// Direction says between whom a flow is.
type Direction string

// The directions.
const (
	DirectionOut  Direction = "out"  // from a peer to what the host reaches
	DirectionIn   Direction = "in"   // from a forwarded port of the host to a peer
	DirectionPeer Direction = "peer" // from a peer to another
)

// GatewayCounters are what a gateway did for one peer since it began.
type GatewayCounters struct {
	Flows    int // now
	Opened   int64
	TxBytes  int64 // from the peer
	RxBytes  int64 // to the peer
	Refused  map[Refusal]int64
	Failures int64 // flows that the network refused or did not answer
}

// GatewayStats are what a gateway did since it began.
type GatewayStats struct {
	Peers map[wgtypes.Key]GatewayCounters
	// Drops are packets that were lost here, by reason: they are nobody's.
	Drops map[string]int64
}

// Gateway is a Device that carries its peers' packets to what the host reaches.
type Gateway interface {
	Device
	// Flows lists what is carried now, the oldest first. Errors: ErrClosed, ErrUnsupported where no gateway runs.
	Flows(ctx context.Context) ([]Flow, error)
	// GatewayStats counts. Errors: as Flows.
	GatewayStats(ctx context.Context) (GatewayStats, error)
	// SetAccess replaces the policy; flows that it forbids end. Errors: as Flows.
	SetAccess(ctx context.Context, p AccessPolicy) error
}
