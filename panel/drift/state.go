package drift

import (
	"bytes"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Peer is the configuration of one peer as far as it is compared.
type Peer struct {
	PublicKey  wgtypes.Key
	AllowedIPs []netip.Prefix // normalized
	Keepalive  int            // seconds
	// PresharedKey is the key's MAC, see engine.MACKey; "" for none.
	PresharedKey string
}

// Same reports whether both are configured alike.
func (p Peer) Same(o Peer) bool {
	return p.PublicKey == o.PublicKey && p.Keepalive == o.Keepalive && p.PresharedKey == o.PresharedKey &&
		slices.Equal(p.AllowedIPs, o.AllowedIPs)
}

// DesiredPeer is a peer as the panel wants it.
type DesiredPeer struct {
	Peer
	ID   string // in the panel
	Name string
	PSK  engine.SecretKey // what PresharedKey is the MAC of
}

// Desired is what one node's interface should be. See NewDesired.
type Desired struct {
	Peers     []DesiredPeer // sorted by key
	Digest    string        // of the peers
	Interface Interface     // nil fields: no wish
	// What is known of peers that are not wanted. The caller fills it in, Rules with those in force.
	Former map[wgtypes.Key]Former
	Rules  []Rule
}

// Observed is what one node's interface was seen to be. See NewObserved.
type Observed struct {
	Peers     []Peer // sorted by key
	Digest    string
	Interface Interface // nil fields: not known
	// What helps to say what a change means. The caller fills it in; it is not compared.
	Activity map[wgtypes.Key]Activity
	Hidden   map[wgtypes.Key]bool // peers whose preshared key the node does not tell
}

// Activity is what a device measured of a peer.
type Activity struct {
	LastHandshake    time.Time // zero: never
	RxBytes, TxBytes int64     // as the node counts them
}

// Interface are the settings of the interface itself.
type Interface struct {
	PublicKey  *string
	ListenPort *int
	Addresses  *[]netip.Prefix
	MTU        *int
	DNS        *string // comma list
	Table      *string
	FwMark     *uint32
	Hooks      *agent.Hooks
	Forward    *string // "any" or a list of links
	Masquerade *string
}

// NewDesired normalizes and sorts the peers, in place, and computes their digest.
func NewDesired(peers []DesiredPeer, i Interface) Desired {
	for n := range peers {
		peers[n].AllowedIPs = engine.NormalizePrefixes(peers[n].AllowedIPs)
	}
	slices.SortFunc(peers, func(a, b DesiredPeer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) })
	return Desired{Peers: peers, Interface: i, Digest: digest(len(peers), func(n int) Peer { return peers[n].Peer })}
}

// NewObserved is NewDesired for what was seen.
func NewObserved(peers []Peer, i Interface) Observed {
	for n := range peers {
		peers[n].AllowedIPs = engine.NormalizePrefixes(peers[n].AllowedIPs)
	}
	slices.SortFunc(peers, func(a, b Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) })
	return Observed{Peers: peers, Interface: i, Digest: digest(len(peers), func(n int) Peer { return peers[n] })}
}

func digest(n int, at func(int) Peer) string {
	lines := make([][]byte, n)
	buf := make([]byte, 0, 160*n)
	for i := range n {
		p := at(i)
		start := len(buf)
		buf = engine.AppendDigestLine(buf, engine.Peer{
			PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.Keepalive,
		}, p.PresharedKey)
		lines[i] = buf[start:len(buf):len(buf)]
	}
	return engine.DigestLines(lines)
}

// Texts are prefixes as they stand in reports; never nil.
func Texts(ips []netip.Prefix) []string {
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return out
}
