package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// setRoutes makes the allowed IPs reachable through the interface, as wg-quick(8)'s add_route does:
// the longest first; in the main table none that the interface reaches anyway, such as those of its own
// subnet. A prefix that another interface has is an error.
func (h *Host) setRoutes(ctx context.Context, c Config) error {
	to, err := parseTable(os.DirFS("/"), c.Table)
	if err != nil || to.table == 0 || len(c.AllowedIPs) == 0 {
		return err
	}
	l, err := byName(c.Interface)
	if err != nil {
		return err
	}
	reached, err := reachedAnyway(l, to, c.AllowedIPs)
	if err != nil {
		return err
	}
	for _, p := range longestFirst(c.AllowedIPs) {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch {
		case to.auto && isDefault(p):
			err = h.setDefault(l, p, c.FwMark)
		case !covered(p, reached):
			err = addRoute(l, p, to.table)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// followRoutes moves the routes from the allowed IPs of before to those of after: what is in both
// stays as it is. Default routes are set by Up alone, since they would take the host's own traffic
// along. Where the addresses differ as well, the routes that the kernel dropped with the old ones are
// set again. It goes on past what fails.
func (h *Host) followRoutes(ctx context.Context, before, after Config) error {
	to, err := parseTable(os.DirFS("/"), after.Table)
	if err != nil || to.table == 0 {
		return err
	}
	l, err := byName(after.Interface)
	if err != nil {
		return err
	}
	gone, added := without(before.AllowedIPs, after.AllowedIPs), without(after.AllowedIPs, before.AllowedIPs)
	if !slices.Equal(engine.NormalizeAddresses(before.Addresses), engine.NormalizeAddresses(after.Addresses)) {
		added = after.AllowedIPs
	}
	var errs []error
	for _, p := range gone {
		if !isDefault(p) || to.table != unix.RT_TABLE_MAIN {
			errs = append(errs, deleteRoute(l, p, to.table))
		}
	}
	if len(added) == 0 {
		return errors.Join(errs...)
	}
	reached, err := reachedAnyway(l, to, slices.Concat(before.AllowedIPs, after.AllowedIPs))
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	for _, p := range longestFirst(added) {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if !covered(p, reached) && (!isDefault(p) || to.table != unix.RT_TABLE_MAIN) {
			errs = append(errs, addRoute(l, p, to.table))
		}
	}
	return errors.Join(errs...)
}

// unsetRoutes takes back what setRoutes or wg-quick(8) set, as its del_if and remove_firewall do.
func (h *Host) unsetRoutes(_ context.Context, c Config) error {
	errs := []error{unsetFirewall(c.Interface)}
	to, err := parseTable(os.DirFS("/"), c.Table)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	l, err := byName(c.Interface)
	if err != nil && !errors.Is(err, engine.ErrUnknownInterface) {
		return errors.Join(append(errs, err)...)
	}
	ifindex := 0
	if l != nil {
		ifindex = l.Attrs().Index
	}
	if to.auto && c.FwMark != 0 {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			errs = append(errs, h.unsetDefault(c, family, ifindex))
		}
	}
	if l != nil && to.table != 0 { // else the kernel has dropped the routes with the link
		errs = append(errs, deleteRoutes(l, c, to))
	}
	return errors.Join(errs...)
}

// deleteRoutes deletes those routes of the interface that setRoutes may have set.
func deleteRoutes(l netlink.Link, c Config, to routing) error {
	tables := []int{to.table}
	if to.auto && c.FwMark != 0 {
		tables = append(tables, int(c.FwMark))
	}
	peers := setOf(c.AllowedIPs)
	var errs []error
	for _, table := range tables {
		have, err := ownRoutes(l, table)
		if err != nil {
			return err
		}
		for p, protocol := range have {
			if protocol == unix.RTPROT_BOOT && peers[p] && !(to.auto && isDefault(p) && table == to.table) {
				errs = append(errs, deleteRoute(l, p, table))
			}
		}
	}
	return errors.Join(errs...)
}

// reachedAnyway are the prefixes that the interface has a route to but for its peers. Outside of
// Table=auto wg-quick(8) does not ask.
func reachedAnyway(l netlink.Link, to routing, peers []netip.Prefix) (map[netip.Prefix]bool, error) {
	if !to.auto {
		return nil, nil
	}
	have, err := ownRoutes(l, to.table)
	if err != nil {
		return nil, err
	}
	of, out := setOf(peers), make(map[netip.Prefix]bool)
	for p, protocol := range have {
		if protocol != unix.RTPROT_BOOT || !of[p] {
			out[p] = true
		}
	}
	return out, nil
}

func setOf(all []netip.Prefix) map[netip.Prefix]bool {
	out := make(map[netip.Prefix]bool, len(all))
	for _, p := range all {
		out[p.Masked()] = true
	}
	return out
}

// without is a but for what is in b.
func without(a, b []netip.Prefix) []netip.Prefix {
	in := setOf(b)
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool { return in[p.Masked()] })
}

// longestFirst is the order of wg-quick(8), without repeats: sort -nr -k 2 -t /.
func longestFirst(all []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, p := range all {
		out[i] = p.Masked()
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(b.Bits(), a.Bits()), b.Addr().Compare(a.Addr()))
	})
	return slices.Compact(out)
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

// ownRoutes are the prefixes that the interface has a route to in a table, with what set it.
func ownRoutes(l netlink.Link, table int) (map[netip.Prefix]netlink.RouteProtocol, error) {
	all, err := listRoutes(netlink.FAMILY_ALL, table)
	if err != nil {
		return nil, failed("read the routes of", l.Attrs().Name, err)
	}
	out := make(map[netip.Prefix]netlink.RouteProtocol)
	for _, r := range all {
		if p, ok := prefix(r.Dst); ok && r.LinkIndex == l.Attrs().Index {
			out[p] = r.Protocol
		}
	}
	return out, nil
}

func listRoutes(family, table int) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	})
}

// addRoute adds a route; one that the interface has already is fine.
func addRoute(l netlink.Link, p netip.Prefix, table int) error {
	what, name := fmt.Sprintf("add route %s to", p), l.Attrs().Name
	err := netlink.RouteAdd(route(l, p, table))
	if !errors.Is(err, unix.EEXIST) {
		return failed(what, name, err)
	}
	all, readErr := listRoutes(familyOf(p), table)
	if readErr != nil {
		return failed(what, name, readErr)
	}
	other := "elsewhere"
	for _, r := range all {
		switch q, ok := prefix(r.Dst); {
		case !ok || p != q:
		case r.LinkIndex == l.Attrs().Index:
			return nil
		default:
			if holder, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				other = "to " + holder.Attrs().Name
			}
		}
	}
	return fmt.Errorf("%w: the route to %s in table %d goes %s already, so %s can't have it", engine.ErrAddressInUse, p, table, other, name)
}

// deleteRoute deletes a route that addRoute or ip-route(8) added, and no other, such as the kernel's
// for the interface's own subnet.
func deleteRoute(l netlink.Link, p netip.Prefix, table int) error {
	err := netlink.RouteDel(route(l, p, table))
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return failed(fmt.Sprintf("remove route %s of", p), l.Attrs().Name, err)
}

// route is what ip-route(8) makes of PREFIX dev IF table TABLE.
func route(l netlink.Link, p netip.Prefix, table int) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: l.Attrs().Index, Dst: ipNet(p.Masked()), Table: table, Protocol: unix.RTPROT_BOOT,
	}
	if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	return r
}
