package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// Settings are what the host knows of an interface.
type Settings struct {
	Addresses []netip.Prefix // normalized; without those that the kernel made by itself
	MTU       int
	Up        bool
}

// Exists reports whether there is a link of that name, of any type.
func Exists(name string) (bool, error) {
	_, err := byName(name)
	if errors.Is(err, engine.ErrUnknownInterface) {
		return false, nil
	}
	return err == nil, err
}

// Read returns the settings of an interface.
func Read(name string) (Settings, error) {
	l, err := byName(name)
	if err != nil {
		return Settings{}, err
	}
	s := Settings{MTU: l.Attrs().MTU, Up: l.Attrs().Flags&net.FlagUp != 0}
	if s.Addresses, err = addresses(l); err != nil {
		return Settings{}, failed("read the addresses of", name, err)
	}
	return s, nil
}

// SetMTU sets the MTU.
func SetMTU(name string, mtu int) error {
	l, err := byName(name)
	if err != nil {
		return err
	}
	return failed("set the MTU of", name, netlink.LinkSetMTU(l, mtu))
}

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenNone = 1

// Up brings the interface up, without the IPv6 link-local address that the kernel would make for it:
// the kernel's own WireGuard has none either.
func Up(name string) error {
	l, err := byName(name)
	if err != nil {
		return err
	}
	_ = netlink.LinkSetIP6AddrGenMode(l, addrGenNone) // fails where there is no IPv6, then there is none to make
	return failed("bring up", name, netlink.LinkSetUp(l))
}

// Delete deletes the link. A TUN interface takes the device behind it down.
func Delete(name string) error {
	l, err := byName(name)
	if err != nil {
		return err
	}
	return failed("delete", name, netlink.LinkDel(l))
}

// CheckAddresses refuses addresses that another link of the host has; the interface itself need not
// be there. IPv6 link-local ones are each link's own. Errors: engine.ErrAddressInUse, naming both
// links.
func CheckAddresses(name string, want []netip.Prefix) error {
	if len(want) == 0 {
		return nil
	}
	wanted := make(map[netip.Addr]bool, len(want))
	for _, a := range want {
		wanted[a.Addr().Unmap()] = true
	}
	all, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return failed("read the addresses beside", name, err)
	}
	for _, a := range all {
		p, ok := prefix(a.IPNet)
		if !ok || !wanted[p.Addr()] || p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			continue
		}
		l, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil || l.Attrs().Name == name { // no link: it went with its addresses meanwhile
			continue
		}
		return fmt.Errorf("%w: %s has %s already, so %s can't have it", engine.ErrAddressInUse, l.Attrs().Name, p.Addr(), name)
	}
	return nil
}

// SetAddresses makes these the addresses of the interface; the first of an IPv4 subnet is the one
// that the host speaks from. What is there already is not touched. Set routes afterwards: the kernel
// drops those of a family with its last address. Errors: as CheckAddresses, before anything is changed.
func SetAddresses(name string, want []netip.Prefix) error {
	l, err := byName(name)
	if err != nil {
		return err
	}
	if err := CheckAddresses(name, want); err != nil {
		return err
	}
	want = canonical(want)
	if err := addMissing(l, want); err != nil {
		return err
	}
	have, err := addresses(l)
	if err != nil {
		return failed("read the addresses of", name, err)
	}
	for _, a := range have {
		if slices.Contains(want, a) {
			continue
		}
		if err := netlink.AddrDel(l, address(a)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return failed(fmt.Sprintf("remove address %s of", a), name, err)
		}
	}
	// An IPv4 address takes the later ones of its subnet with it when it goes.
	return addMissing(l, want)
}

// canonical is engine.NormalizeAddresses in the order that was given.
func canonical(in []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range in {
		if a = engine.NormalizeAddresses([]netip.Prefix{a})[0]; !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func addMissing(l netlink.Link, want []netip.Prefix) error {
	name := l.Attrs().Name
	have, err := addresses(l)
	if err != nil {
		return failed("read the addresses of", name, err)
	}
	for _, a := range want {
		if slices.Contains(have, a) {
			continue
		}
		// IPv6 knows an address once, whatever its length: the old one goes first.
		if err := netlink.AddrAdd(l, address(a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return failed(fmt.Sprintf("add address %s to", a), name, err)
		}
	}
	return nil
}

// address is what ip-address(8) makes of ADDRESS dev IF. Without the zero the library adds a
// broadcast address.
func address(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: ipNet(p), Broadcast: net.IPv4zero}
}

func addresses(l netlink.Link) ([]netip.Prefix, error) {
	all, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, a := range all {
		made := a.Flags&unix.IFA_F_STABLE_PRIVACY != 0 && a.IP.IsLinkLocalUnicast()
		if p, ok := prefix(a.IPNet); ok && !made {
			out = append(out, p)
		}
	}
	return engine.NormalizeAddresses(out), nil
}

// dumpTries bounds how often a listing is asked for again that changed while it was read.
const dumpTries = 8

func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

func byName(name string) (netlink.Link, error) {
	l, err := netlink.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, fmt.Errorf("%w: there is no link %q", engine.ErrUnknownInterface, name)
	}
	return l, failed("find", name, err)
}

func failed(what, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: to %s %s needs CAP_NET_ADMIN: %w", engine.ErrNotPermitted, what, name, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %s %s", engine.ErrUnknownInterface, what, name)
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok
}
