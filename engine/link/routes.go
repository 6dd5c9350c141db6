package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// protocol marks our routes, so that they are told from those of the kernel and of other programs.
// The number is in the range that rtnetlink(7) leaves to users and is nobody's in
// /etc/iproute2/rt_protos.
const protocol netlink.RouteProtocol = 119

// SetRoutes makes these prefixes, the allowed IPs of all peers, reachable through the interface, as
// wg-quick(8) does with Table=auto: in the main table, the longest first, but none that another
// route of the interface covers, such as the one of its own subnet. Routes of ours that are no
// longer wanted go; nil removes them all.
//
// A default route (0.0.0.0/0, ::/0) is passed over: it needs rules that keep the tunnel's own
// packets out of the tunnel. A prefix that another interface has is an error; the others are set.
func SetRoutes(name string, allowedIPs []netip.Prefix) error {
	l, err := byName(name)
	if err != nil {
		return err
	}
	ours, others, err := routes(l)
	if err != nil {
		return failed("read the routes of", name, err)
	}
	want := wanted(allowedIPs, others)
	var errs []error
	for p := range ours {
		if _, keep := slices.BinarySearchFunc(want, p, compareRoutes); keep {
			continue
		}
		if err := netlink.RouteDel(route(l, p)); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, failed(fmt.Sprintf("remove route %s of", p), name, err))
		}
	}
	for _, p := range want {
		if ours[p] {
			continue
		}
		if err := netlink.RouteAdd(route(l, p)); err != nil {
			errs = append(errs, failed(fmt.Sprintf("add route %s to", p), name, err))
		}
	}
	return errors.Join(errs...)
}

// Routes lists the routes that SetRoutes made, the longest first.
func Routes(name string) ([]netip.Prefix, error) {
	l, err := byName(name)
	if err != nil {
		return nil, err
	}
	ours, _, err := routes(l)
	if err != nil {
		return nil, failed("read the routes of", name, err)
	}
	out := make([]netip.Prefix, 0, len(ours))
	for p := range ours {
		out = append(out, p)
	}
	slices.SortFunc(out, compareRoutes)
	return out, nil
}

// wanted is what there should be, sorted by compareRoutes, given the routes of others on the same
// interface.
func wanted(allowedIPs []netip.Prefix, others map[netip.Prefix]bool) []netip.Prefix {
	want := make([]netip.Prefix, 0, len(allowedIPs))
	for _, p := range allowedIPs {
		p = p.Masked()
		if p.Bits() > 0 && !covered(p, others) {
			want = append(want, p)
		}
	}
	slices.SortFunc(want, compareRoutes)
	return slices.Compact(want)
}

func covered(p netip.Prefix, by map[netip.Prefix]bool) bool {
	if len(by) == 0 {
		return false
	}
	for bits := p.Bits(); bits >= 0; bits-- {
		if by[netip.PrefixFrom(p.Addr(), bits).Masked()] {
			return true
		}
	}
	return false
}

func compareRoutes(a, b netip.Prefix) int {
	if a.Bits() != b.Bits() {
		return b.Bits() - a.Bits()
	}
	return a.Addr().Compare(b.Addr())
}

// routes returns the routes of a link in the main table: those of SetRoutes and the others.
func routes(l netlink.Link) (ours, others map[netip.Prefix]bool, err error) {
	filter := &netlink.Route{LinkIndex: l.Attrs().Index, Table: unix.RT_TABLE_MAIN}
	all, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, nil, err
	}
	ours, others = make(map[netip.Prefix]bool), make(map[netip.Prefix]bool)
	for _, r := range all {
		p, ok := prefix(r.Dst)
		switch {
		case !ok:
		case r.Protocol == protocol:
			ours[p] = true
		default:
			others[p] = true
		}
	}
	return ours, others, nil
}

func route(l netlink.Link, p netip.Prefix) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: l.Attrs().Index, Dst: ipNet(p), Table: unix.RT_TABLE_MAIN, Protocol: protocol,
	}
	if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK // as ip(8) chooses for a route without a gateway
	}
	return r
}

// Follow moves the routes from the allowed IPs of before to those of after, for an interface that Up
// was called for: the others stay as they are. Default routes are set by Up alone, since they would
// take the host's own traffic along.
func (h *Host) Follow(_ context.Context, _, after Config) error {
	if after.Table != "" && after.Table != "auto" {
		return nil
	}
	return SetRoutes(after.Interface, after.AllowedIPs)
}

func (h *Host) setRoutes(ctx context.Context, c Config) error { return h.Follow(ctx, c, c) }
func (h *Host) unsetRoutes(context.Context, Config) error     { return nil }
