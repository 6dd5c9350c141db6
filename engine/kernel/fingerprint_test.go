package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// wanted is a device with what is special: no preshared key, no allowed IPs, and more of them than a
// message of the kernel holds.
func wanted() engine.State {
	psk := engine.NewSecretKey(wgtypes.Key{5})
	return engine.State{
		Interface: engine.Interface{PrivateKey: engine.NewSecretKey(wgtypes.Key{8, 3}).Clamped(), ListenPort: 51820, FwMark: 0xffffffff},
		Peers: []engine.Peer{
			{PublicKey: enginetest.PeerKey(0), PresharedKey: psk, AllowedIPs: prefixesOf("10.0.0.0/8", "fd00::/64", "10.0.0.1/32", "fd00::1/128"), PersistentKeepalive: 65535},
			{PublicKey: enginetest.PeerKey(1)},
			{PublicKey: enginetest.PeerKey(2), AllowedIPs: prefixesOf("0.0.0.0/0", "::/0")},
		},
	}
}

func prefixesOf(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func nest(kind int, of ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, child := range of {
		a.AddChild(child)
	}
	return a
}

// peerAttr is a peer as the kernel says it; again: its allowed IPs did not fit into the message before.
func peerAttr(p engine.Peer, again bool) *nl.RtAttr {
	psk := p.PresharedKey.Reveal()
	a := nest(0, nl.NewRtAttr(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:]))
	if !again {
		a.AddChild(nl.NewRtAttr(unix.WGPEER_A_PRESHARED_KEY, psk[:]))
		a.AddChild(nl.NewRtAttr(unix.WGPEER_A_LAST_HANDSHAKE_TIME, make([]byte, 16)))
		a.AddChild(nl.NewRtAttr(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, nl.Uint16Attr(uint16(p.PersistentKeepalive))))
		a.AddChild(nl.NewRtAttr(unix.WGPEER_A_RX_BYTES, nl.Uint64Attr(77)))
	}
	ips := nest(unix.WGPEER_A_ALLOWEDIPS)
	for _, ip := range p.AllowedIPs {
		ips.AddChild(nest(0, nl.NewRtAttr(unix.WGALLOWEDIP_A_CIDR_MASK, []byte{byte(ip.Bits())}),
			nl.NewRtAttr(unix.WGALLOWEDIP_A_IPADDR, ip.Addr().AsSlice())))
	}
	a.AddChild(ips)
	return a
}

func messageOf(attrs ...*nl.RtAttr) []byte {
	b := bytes.Repeat([]byte{0}, nl.SizeofGenlmsg)
	for _, a := range attrs {
		b = append(b, a.Serialize()...)
	}
	return b
}

// dump is the device in messages: the first peer's allowed IPs fill two.
func dump(s engine.State) [][]byte {
	key, first, rest := s.Interface.PrivateKey.Reveal(), s.Peers[0], s.Peers[0]
	first.AllowedIPs, rest.AllowedIPs = first.AllowedIPs[:1], first.AllowedIPs[1:]
	return [][]byte{
		messageOf(nl.NewRtAttr(unix.WGDEVICE_A_PRIVATE_KEY, key[:]), nl.NewRtAttr(unix.WGDEVICE_A_IFNAME, nl.ZeroTerminated("wg0")),
			nl.NewRtAttr(unix.WGDEVICE_A_LISTEN_PORT, nl.Uint16Attr(s.Interface.ListenPort)),
			nl.NewRtAttr(unix.WGDEVICE_A_FWMARK, nl.Uint32Attr(s.Interface.FwMark)),
			nest(unix.WGDEVICE_A_PEERS, peerAttr(first, false))),
		messageOf(nest(unix.WGDEVICE_A_PEERS, peerAttr(rest, true), peerAttr(s.Peers[1], false), peerAttr(s.Peers[2], false))),
	}
}

func TestFingerprintOfNetlink(t *testing.T) {
	var s sums
	for _, m := range dump(wanted()) {
		require.NoError(t, s.message(m))
	}
	s.endPeer()
	require.Equal(t, engine.FingerprintOf(wanted()), s.prints.Sum(s.face))
}

// uapi is the device as a userspace process says it.
func uapi(s engine.State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\nlisten_port=%d\nfwmark=%d\n", hexOf(s.Interface.PrivateKey.Reveal()), s.Interface.ListenPort, s.Interface.FwMark)
	for _, p := range s.Peers {
		fmt.Fprintf(&b, "public_key=%s\npreshared_key=%s\nprotocol_version=1\nendpoint=192.0.2.1:5\n", hexOf(p.PublicKey), hexOf(p.PresharedKey.Reveal()))
		fmt.Fprintf(&b, "last_handshake_time_sec=7\ntx_bytes=5\npersistent_keepalive_interval=%d\n", p.PersistentKeepalive)
		for _, ip := range p.AllowedIPs {
			fmt.Fprintf(&b, "allowed_ip=%s\n", ip)
		}
	}
	return b.String() + "errno=0\n"
}

func hexOf(k wgtypes.Key) string { return fmt.Sprintf("%x", k[:]) }

// lines adds an answer, and reports whether its end came.
func (s *sums) lines(text string) (done bool, err error) {
	for line := range strings.Lines(text) {
		if done, err = s.line([]byte(strings.TrimSuffix(line, "\n"))); done || err != nil {
			break
		}
	}
	s.endPeer()
	return done, err
}

func TestFingerprintOfUAPI(t *testing.T) {
	var s sums
	done, err := s.lines(uapi(wanted()))
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, engine.FingerprintOf(wanted()), s.prints.Sum(s.face))

	secret := hexOf(wgtypes.Key{8, 3})
	for what, text := range map[string]string{
		"an error": "errno=5\n", "no errno": "listen_port=5\n\n", "a long key": "private_key=" + secret + "00\n", "no key": "preshared_key=" + secret[:63] + "x\n",
		"a port": "listen_port=65536\n", "a prefix": "allowed_ip=10.0.0.0/33\n",
	} {
		_, err := new(sums).lines(text)
		require.Error(t, err, what)
		require.NotContains(t, err.Error(), secret[:20], what)
	}
}

// FuzzFingerprint: whatever a kernel or a process says ends in a fingerprint or an error.
func FuzzFingerprint(f *testing.F) {
	for _, m := range dump(wanted()) {
		f.Add(m)
	}
	f.Add([]byte(uapi(wanted())))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var s sums
		if s.message(b) == nil {
			s.endPeer()
			s.prints.Sum(s.face)
		}
		new(sums).lines(string(b))
	})
}
