package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// readNetlink adds up what the kernel says of its own link; the attributes are those of linux/wireguard.h.
// A write during the read tears it, as it would tear the one of wgctrl: the caller compares two reads.
func readNetlink(_ context.Context, name string, s *sums) error {
	family, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
	if err != nil {
		return noDevice(err)
	}
	ask := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	ask.AddData(&nl.Genlmsg{Command: unix.WG_CMD_GET_DEVICE, Version: unix.WG_GENL_VERSION})
	ask.AddData(nl.NewRtAttr(unix.WGDEVICE_A_IFNAME, nl.ZeroTerminated(name)))
	var malformed error
	err = ask.ExecuteIter(unix.NETLINK_GENERIC, 0, func(message []byte) bool {
		malformed = s.message(message)
		return malformed == nil
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return noDevice(err)
	}
	return malformed
}

// noDevice is what deviceError knows for a name that is no link of type wireguard.
func noDevice(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return os.ErrNotExist
	}
	return err
}

// attributes walks through the attributes of a netlink message, and allocates nothing. Those that are nested
// in each other share the first error, which ends all of them.
type attributes struct {
	rest  []byte
	kind  uint16
	value []byte
	err   *error
}

// nested walks through the attributes in the value of this one.
func (a *attributes) nested() attributes { return attributes{rest: a.value, err: a.err} }

func (a *attributes) next() bool {
	if len(a.rest) == 0 || *a.err != nil {
		return false
	}
	size := 0
	if len(a.rest) >= unix.SizeofNlAttr {
		size = int(binary.NativeEndian.Uint16(a.rest))
	}
	if size < unix.SizeofNlAttr || size > len(a.rest) {
		*a.err = fmt.Errorf("netlink: an attribute of %d bytes in %d", size, len(a.rest))
		return false
	}
	a.kind = binary.NativeEndian.Uint16(a.rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.value = a.rest[unix.SizeofNlAttr:size]
	a.rest = a.rest[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(a.rest)):]
	return true
}

// number reads an unsigned integer of this many bytes.
func (a *attributes) number(bytes int) uint32 {
	if len(a.value) != bytes {
		*a.err = fmt.Errorf("netlink: attribute %d has %d bytes, expected %d", a.kind, len(a.value), bytes)
		return 0
	}
	switch bytes {
	case 1:
		return uint32(a.value[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(a.value))
	}
	return binary.NativeEndian.Uint32(a.value)
}

func (a *attributes) key() (k wgtypes.Key) {
	if len(a.value) != len(k) {
		*a.err = fmt.Errorf("netlink: attribute %d has %d bytes, expected a key of %d", a.kind, len(a.value), len(k))
		return k
	}
	return wgtypes.Key(a.value)
}

// message adds one message of the dump, which begins with a genlmsghdr.
func (s *sums) message(b []byte) (err error) {
	if len(b) < nl.SizeofGenlmsg {
		return errors.New("netlink: a message without its header")
	}
	a := attributes{rest: b[nl.SizeofGenlmsg:], err: &err}
	for a.next() {
		switch a.kind {
		case unix.WGDEVICE_A_PRIVATE_KEY:
			s.face.PrivateKey = engine.NewSecretKey(a.key())
		case unix.WGDEVICE_A_LISTEN_PORT:
			s.face.ListenPort = uint16(a.number(2))
		case unix.WGDEVICE_A_FWMARK:
			s.face.FwMark = a.number(4)
		case unix.WGDEVICE_A_PEERS:
			for peers := a.nested(); peers.next(); {
				s.netlinkPeer(peers.nested())
			}
		}
	}
	return err
}

func (s *sums) netlinkPeer(a attributes) {
	for a.next() {
		switch a.kind {
		case unix.WGPEER_A_PUBLIC_KEY: // comes first
			s.beginPeer(a.key())
		case unix.WGPEER_A_PRESHARED_KEY:
			s.peer.PresharedKey = engine.NewSecretKey(a.key())
		case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
			s.peer.PersistentKeepalive = int(a.number(2))
		case unix.WGPEER_A_ALLOWEDIPS:
			for ips := a.nested(); ips.next(); {
				s.netlinkPrefix(ips.nested())
			}
		}
	}
}

func (s *sums) netlinkPrefix(a attributes) {
	var addr netip.Addr
	bits := -1
	for a.next() {
		switch a.kind {
		case unix.WGALLOWEDIP_A_IPADDR:
			addr, _ = netip.AddrFromSlice(a.value)
		case unix.WGALLOWEDIP_A_CIDR_MASK:
			bits = int(a.number(1))
		}
	}
	p := netip.PrefixFrom(addr, bits)
	if !p.IsValid() && *a.err == nil {
		*a.err = errors.New("netlink: an allowed IP that is none")
	}
	s.peer.AllowedIPs = append(s.peer.AllowedIPs, p)
}
