package panel

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Peer is one peer of a node's interface as the panel wants it, and the client's side of it.
type Peer struct {
	ID                string
	Name              string
	NodeID            string
	PublicKey         wgtypes.Key
	PrivateKey        engine.SecretKey // zero: the panel does not have it
	PresharedKey      engine.SecretKey
	AllowedIPs        []netip.Prefix
	Keepalive         *int    // seconds; nil: see Effective
	DNS               *string // client file only, as the next two
	MTU               *int
	EndpointAllowedIP *string
	TemplateID        string    // of kind peer; "": none
	Enabled           bool      // a disabled peer is not desired on the node
	ExpiresAt         time.Time // nor is one from this second on; zero: never
	Adopted           bool      // the node had this key before the panel did, as a foreign peer
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

// expired reports whether the peer's time has come.
func (p Peer) expired(now time.Time) bool { return !p.ExpiresAt.IsZero() && !now.Before(p.ExpiresAt) }

// wanted reports whether the peer is desired on its node.
func (p Peer) wanted(now time.Time) bool { return p.Enabled && !p.expired(now) }

// Effective is what holds for a peer: of each setting the first that is given by the peer itself, its template,
// its node's override, the node's template, the node's group, and the panel's default.
type Effective struct {
	DNS               string
	MTU               int
	Keepalive         int
	EndpointAllowedIP string
	Endpoint          string // host:port that the client dials; "" where the node names none
}

// PeerView is a peer with what holds for it.
type PeerView struct {
	Peer
	Interface string
	Effective Effective
	Expired   bool
	// ConfigStale: the client's file was fetched once, and what it would be now is another.
	ConfigStale bool
	Warnings    []string // for example nested prefixes
}

// PeerInput creates a peer, or changes one: an absent field stays as it is.
type PeerInput struct {
	Name              *string
	PublicKey         *string // absent on create: the panel makes the key pair
	PrivateKey        *string
	PresharedKey      Optional[string] // a key, "auto", or cleared
	AllowedIPs        *[]string        // absent on create: the lowest free address of each pool
	Keepalive         Optional[int]
	DNS               Optional[string]
	MTU               Optional[int]
	EndpointAllowedIP Optional[string]
	TemplateID        Optional[string]
	Enabled           *bool
	ExpiresAt         Optional[string] // RFC 3339, in the future
	AllowOffline      bool             // keep the change though the node can't be reached
}

// Page asks for a part of a list. Limit 0: all.
type Page struct {
	Limit  int
	Cursor string
}
