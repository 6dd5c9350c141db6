package engine

import (
	"fmt"
	"net/netip"
	"regexp"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Limits of the protocol and its implementations.
const (
	MaxKeepalive = 65535   // seconds; wg(8)
	MaxPeers     = 1 << 16 // wireguard-go's device.MaxPeers
	MinMTU       = 576     // RFC 791
	MinMTU6      = 1280    // RFC 8200
	MaxMTU       = 65535
)

var interfaceName = regexp.MustCompile(`^[A-Za-z0-9_=+.-]{1,15}$`)

// ValidateName refuses interface names that the kernel, wg(8) or a file system would read as
// something else.
func ValidateName(name string) error {
	switch name {
	case ".", "..", "all", "default", "interfaces", "help":
		return &FieldError{Field: "interface", Reason: fmt.Sprintf("%q is a reserved name", name)}
	}
	if !interfaceName.MatchString(name) || name[0] == '-' {
		return &FieldError{Field: "interface", Reason: fmt.Sprintf(
			"%.40q is not an interface name: expected 1 to 15 of A-Z a-z 0-9 _ = + . - and no leading dash", name)}
	}
	return nil
}

// ValidatePeer judges one peer by itself.
func ValidatePeer(p Peer) error {
	if p.PublicKey == (wgtypes.Key{}) {
		return &FieldError{Peer: p.PublicKey, Field: "public_key", Reason: "the all-zero key is no peer's key"}
	}
	if p.PersistentKeepalive < 0 || p.PersistentKeepalive > MaxKeepalive {
		return &FieldError{Peer: p.PublicKey, Field: "persistent_keepalive", Reason: fmt.Sprintf(
			"%d is out of range: expected 0 (off) to %d seconds", p.PersistentKeepalive, MaxKeepalive)}
	}
	for _, ip := range p.AllowedIPs {
		if !ip.IsValid() {
			return &FieldError{Peer: p.PublicKey, Field: "allowed_ips", Reason: "a prefix is not valid"}
		}
	}
	return nil
}

// Validate judges a whole normalized state: each peer, the interface's own key among the peers, a
// key that is listed twice, and a prefix that two peers hold (a *ConflictError). Nested prefixes
// are legal: WireGuard takes the longest match.
func Validate(s State) error {
	if len(s.Peers) > MaxPeers {
		return &FieldError{Field: "peers", Reason: fmt.Sprintf("%d peers: an interface holds %d at most", len(s.Peers), MaxPeers)}
	}
	if err := ValidateInterface(s.Interface); err != nil {
		return err
	}
	own := s.Interface.PrivateKey.PublicKey()
	holders := make(map[netip.Prefix]wgtypes.Key, len(s.Peers))
	for i, p := range s.Peers {
		if err := ValidatePeer(p); err != nil {
			return err
		}
		if p.PublicKey == own {
			return &FieldError{Peer: p.PublicKey, Field: "public_key", Reason: "this is the interface's own key"}
		}
		if i > 0 && s.Peers[i-1].PublicKey == p.PublicKey {
			return &FieldError{Peer: p.PublicKey, Field: "public_key", Reason: "this peer is listed twice"}
		}
		for _, ip := range p.AllowedIPs {
			if holder, taken := holders[ip]; taken && holder != p.PublicKey {
				return &ConflictError{Prefix: ip, Holder: holder, Wanted: p.PublicKey}
			}
			holders[ip] = p.PublicKey
		}
	}
	return nil
}

// ValidateInterface judges the interface's own settings.
func ValidateInterface(i Interface) error {
	smallest := MinMTU
	for _, a := range i.Addresses {
		if !a.IsValid() {
			return &FieldError{Field: "addresses", Reason: "an address is not valid"}
		}
		if a.Addr().Is6() {
			smallest = MinMTU6
		}
	}
	if i.MTU != 0 && (i.MTU < smallest || i.MTU > MaxMTU) {
		return &FieldError{Field: "mtu", Reason: fmt.Sprintf("%d is out of range: expected %d to %d bytes", i.MTU, smallest, MaxMTU)}
	}
	return nil
}
