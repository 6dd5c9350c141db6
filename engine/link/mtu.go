package link

import (
	"context"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// Sizes in bytes that wg-quick(8) reckons with.
const (
	pathMTU  = 1500 // where no route tells
	overhead = 80   // of WireGuard over IPv6: 40 IPv6, 8 UDP, 16 header, 16 authenticator
)

// findMTU is wg-quick(8)'s set_mtu_up: the largest MTU on the ways to the endpoints, else that of
// the IPv4 default route, less what WireGuard adds. It is never below what the addresses need: wg-quick
// sets such an MTU too, and the kernel then drops the IPv6 addresses.
func findMTU(ctx context.Context, addresses []netip.Prefix, endpoints []netip.AddrPort) (int, error) {
	mtu := 0
	for _, e := range endpoints {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if e.Addr().Zone() != "" { // wg-quick passes over these, too
			continue
		}
		// An endpoint that can't be reached now says nothing.
		if found, err := netlink.RouteGet(e.Addr().Unmap().AsSlice()); err == nil && len(found) > 0 {
			mtu = max(mtu, routeMTU(found[0]))
		}
	}
	if mtu == 0 {
		var err error
		if mtu, err = defaultMTU(); err != nil {
			return 0, failed("find", "the default route", err)
		}
	}
	if mtu == 0 {
		mtu = pathMTU
	}
	return max(mtu-overhead, smallestMTU(addresses)), nil
}

// ChooseMTU finds the MTU for an interface of this process, with these endpoints, as Choose does; it needs no privilege.
func ChooseMTU(ctx context.Context, addresses []netip.Prefix, endpoints []netip.AddrPort) (int, error) {
	return findMTU(ctx, addresses, endpoints)
}

func smallestMTU(addresses []netip.Prefix) int {
	for _, a := range addresses {
		if a.Addr().Is6() {
			return engine.MinMTU6
		}
	}
	return engine.MinMTU
}

// defaultMTU is that of the first IPv4 default route of the main table, 0 where there is none.
func defaultMTU() (int, error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Dst: nil} // nil: the default route
	all, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
	})
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return routeMTU(all[0]), nil
}

// routeMTU is the MTU of the route itself, else that of its link; 0: unknown.
func routeMTU(r netlink.Route) int {
	if r.MTU != 0 || r.LinkIndex == 0 {
		return r.MTU
	}
	l, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil { // gone meanwhile
		return 0
	}
	return l.Attrs().MTU
}
