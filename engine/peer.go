package engine

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Peer is the configuration of one peer of an interface.
type Peer struct {
	PublicKey    wgtypes.Key
	PresharedKey SecretKey      // zero: none
	AllowedIPs   []netip.Prefix // masked, canonical, sorted as strings after Normalize
	// PersistentKeepalive is in seconds, 0 for off.
	PersistentKeepalive int
	// Endpoint is where to send first. It is not configuration in the sense of drift: peers roam,
	// so it is never compared; the zero value leaves the device's own knowledge alone.
	Endpoint netip.AddrPort
	// EndpointName is the host:port that Endpoint was looked up from, where a configuration named a
	// host. It is for files and is never compared: no device knows it.
	EndpointName string
}

// Interface is the configuration of a WireGuard interface that the device itself knows.
type Interface struct {
	Name       string
	PrivateKey SecretKey
	ListenPort uint16 // 0: chosen by the device
	FwMark     uint32 // 0: off
	Addresses  []netip.Prefix
	MTU        int // bytes; 0: the backend's default
}

// State is what a device is meant to be, or was seen to be: its interface and its peers.
type State struct {
	Interface Interface
	Peers     []Peer
}

// Stats are what a device measured of one peer. They are never drift.
type Stats struct {
	Endpoint      netip.AddrPort // zero: unknown
	LastHandshake time.Time      // zero: never
	RxBytes       int64
	TxBytes       int64
}

// Observation is one full read of a device.
type Observation struct {
	State
	Stats map[wgtypes.Key]Stats
}

// Lookup returns the peer with that key from peers sorted by Normalize.
func Lookup(peers []Peer, key wgtypes.Key) (Peer, bool) {
	i, ok := searchPeer(peers, key)
	if !ok {
		return Peer{}, false
	}
	return peers[i], true
}
