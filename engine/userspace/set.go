package userspace

import (
	"encoding/hex"
	"slices"
	"strconv"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// appendInterface appends the UAPI lines of what differs. Before an interface has any settings,
// c.Before is the zero value.
func appendInterface(b []byte, c engine.InterfaceChange) []byte {
	if !c.After.PrivateKey.Equal(c.Before.PrivateKey) {
		b = appendKey(b, "private_key=", c.After.PrivateKey.Reveal())
	}
	if c.After.FwMark != c.Before.FwMark {
		b = appendNumber(b, "fwmark=", uint64(c.After.FwMark))
	}
	if c.After.ListenPort != c.Before.ListenPort {
		b = appendNumber(b, "listen_port=", uint64(c.After.ListenPort))
	}
	return b
}

// appendPeer appends the UAPI lines of one step: everything of a new peer, what differs of a known
// one. An update never makes a peer that is gone, and a peer's allowed IPs are replaced only if
// they differ.
func appendPeer(b []byte, c engine.PeerChange) []byte {
	b = appendKey(b, "public_key=", c.Key())
	if c.Before != nil {
		b = append(b, "update_only=true\n"...)
	}
	if c.After == nil {
		return append(b, "remove=true\n"...)
	}
	p, old := *c.After, engine.Peer{}
	if c.Before != nil {
		old = *c.Before
	}
	added := c.Before == nil
	if added || !p.PresharedKey.Equal(old.PresharedKey) {
		b = appendKey(b, "preshared_key=", p.PresharedKey.Reveal()) // zeros: none
	}
	if p.Endpoint.IsValid() && p.Endpoint != old.Endpoint {
		b = append(b, "endpoint="...)
		b = append(p.Endpoint.AppendTo(b), '\n')
	}
	if added || p.PersistentKeepalive != old.PersistentKeepalive {
		b = appendNumber(b, "persistent_keepalive_interval=", uint64(p.PersistentKeepalive))
	}
	if added || !slices.Equal(p.AllowedIPs, old.AllowedIPs) {
		b = append(b, "replace_allowed_ips=true\n"...)
		for _, ip := range p.AllowedIPs {
			b = append(b, "allowed_ip="...)
			b = append(ip.AppendTo(b), '\n')
		}
	}
	return b
}

func appendKey(b []byte, name string, k wgtypes.Key) []byte {
	b = append(b, name...)
	return append(hex.AppendEncode(b, k[:]), '\n')
}

func appendNumber(b []byte, name string, n uint64) []byte {
	b = append(b, name...)
	return append(strconv.AppendUint(b, n, 10), '\n')
}
