package link

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// firstMark is where wg-quick(8) begins to look for a fwmark, which is the number of a table as well.
const firstMark = 51820

// Choose finds the MTU and the fwmark that wg-quick(8) would give an interface with these endpoints.
// It changes nothing, and the interface need not be there. Errors: *engine.FieldError for the table.
func (h *Host) Choose(ctx context.Context, c Config, endpoints []netip.AddrPort) (Choice, error) {
	mtu, err := findMTU(ctx, c.Addresses, endpoints)
	if err != nil {
		return Choice{}, fmt.Errorf("choose an MTU for %s: %w", c.Interface, err)
	}
	out := Choice{MTU: mtu, FwMark: c.FwMark}
	to, err := parseTable(os.DirFS("/"), c.Table)
	if err != nil {
		return Choice{}, err
	}
	if out.FwMark == 0 && to.auto && slices.ContainsFunc(c.AllowedIPs, isDefault) {
		if out.FwMark, err = freeMark(); err != nil {
			return Choice{}, fmt.Errorf("choose a fwmark for %s: %w", c.Interface, err)
		}
	}
	return out, nil
}

func isDefault(p netip.Prefix) bool { return p.Bits() == 0 }

// freeMark is the first number from firstMark on whose table is empty in both families.
func freeMark() (uint32, error) {
	everywhere := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
	all, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_ALL, everywhere, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return 0, failed("read", "the routing tables", err)
	}
	used := make(map[int]bool)
	for _, r := range all {
		used[r.Table] = true
	}
	mark := firstMark
	for used[mark] {
		mark++
	}
	return uint32(mark), nil
}
