package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// validMark is the setting that lets the reverse path filter see the fwmark of the answers, which
// would be dropped otherwise.
const validMark = "/proc/sys/net/ipv4/conf/all/src_valid_mark"

// setDefault sends all of one family through the interface, as wg-quick(8)'s add_default does: a
// default route in a table of its own; a rule that leads all packets there but those of the tunnel
// itself, which bear the mark; a rule before it that still lets the main table's other routes win;
// and a firewall for what could come past the tunnel. The mark is the number of the table.
func (h *Host) setDefault(l netlink.Link, p netip.Prefix, mark uint32) error {
	name := l.Attrs().Name
	if mark == 0 {
		return &engine.FieldError{Field: "fwmark", Reason: "a default route needs one: " + name + " has none"}
	}
	h.rules.Lock()
	defer h.rules.Unlock()
	if p.Addr().Is4() {
		if err := setValidMark(validMark); err != nil {
			return err
		}
	}
	if err := addRoute(l, p, int(mark)); err != nil {
		return err
	}
	family := familyOf(p)
	have, err := listRules(family)
	if err != nil {
		return failed("read the rules for", name, err)
	}
	for _, r := range missingRules(have, mark) {
		r.Family = family
		if err := netlink.RuleAdd(&r); err != nil {
			return failed("add the rules for", name, err)
		}
	}
	return setFirewall(l, family, mark)
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

func setValidMark(path string) error {
	if now, err := os.ReadFile(path); err == nil && string(bytes.TrimSpace(now)) == "1" {
		return nil
	}
	if err := os.WriteFile(path, []byte("1"), 0o600); err != nil {
		return fmt.Errorf("%w: a default route over IPv4 needs the sysctl net.ipv4.conf.all.src_valid_mark=1, "+
			"which can't be set from here: set it on the host or when the container is started: %w", engine.ErrNotPermitted, err)
	}
	return nil
}

// listRules returns the rules of a family in the order in which they are asked; none where the
// kernel does not have that family.
func listRules(family int) ([]netlink.Rule, error) {
	all, err := whole(func() ([]netlink.Rule, error) { return netlink.RuleList(family) })
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil
	}
	return all, err
}

// selector is the rule "not fwmark MARK table MARK".
func selector(mark uint32) netlink.Rule {
	r := *netlink.NewRule()
	r.Invert, r.Mark, r.Table = true, mark, int(mark)
	return r
}

// suppressor is the rule "table main suppress_prefixlength 0": main without its default route.
func suppressor() netlink.Rule {
	r := *netlink.NewRule()
	r.Table, r.SuppressPrefixlen = unix.RT_TABLE_MAIN, 0
	return r
}

// isSelector is true of the selectors of all interfaces.
func isSelector(r netlink.Rule) bool {
	return r.Invert && r.Mark != 0 && r.Table == int(r.Mark) && sameRule(r, selector(r.Mark))
}

func isSuppressor(r netlink.Rule) bool { return sameRule(r, suppressor()) }

// sameRule compares all that ip-rule(8) could have said of the two beside the priority.
func sameRule(a, b netlink.Rule) bool {
	whole := a.Mask == nil || *a.Mask == 1<<32-1
	return whole && a.Invert == b.Invert && a.Mark == b.Mark && a.Table == b.Table &&
		a.SuppressPrefixlen == b.SuppressPrefixlen && a.SuppressIfgroup == b.SuppressIfgroup &&
		a.Src == nil && a.Dst == nil && a.IifName == "" && a.OifName == "" && a.Tos == 0 && a.Goto == b.Goto &&
		a.IPProto == 0 && a.Dport == nil && a.Sport == nil && a.UIDRange == nil
}

// missingRules is what to add, in this order, to the rules of a family: the kernel puts a rule
// without a priority before all others but the first. A suppressor after the selector would come too late.
func missingRules(have []netlink.Rule, mark uint32) []netlink.Rule {
	suppressed := false
	for _, r := range have {
		suppressed = suppressed || isSuppressor(r)
		if isSelector(r) && r.Mark == mark {
			if suppressed {
				return nil
			}
			return []netlink.Rule{suppressor()}
		}
	}
	return []netlink.Rule{selector(mark), suppressor()}
}

// obsoleteRules is what to delete of the rules of a family when the interface with that mark goes:
// its selectors, and each suppressor that has no other interface's selector behind it. wg-quick(8)
// deletes all suppressors, and with them the way to the neighbours of the interfaces that stay.
func obsoleteRules(have []netlink.Rule, mark uint32) (out []netlink.Rule) {
	var idle []netlink.Rule // the last suppressor, while nothing needs it
	for _, r := range have {
		switch {
		case isSuppressor(r):
			out = append(out, idle...) // two in a row: the nearer one does
			idle = []netlink.Rule{r}
		case isSelector(r) && r.Mark == mark:
			out = append(out, r)
		case isSelector(r):
			idle = nil
		}
	}
	return append(out, idle...)
}

// unsetDefault takes the rules of one family back. ifindex is 0 where the link is gone.
func (h *Host) unsetDefault(c Config, family, ifindex int) error {
	h.rules.Lock()
	defer h.rules.Unlock()
	have, err := listRules(family)
	if err != nil {
		return failed("read the rules for", c.Interface, err)
	}
	ours := func(r netlink.Rule) bool { return isSelector(r) && r.Mark == c.FwMark }
	wanted := func(p netip.Prefix) bool { return isDefault(p) && familyOf(p) == family }
	if !slices.ContainsFunc(have, ours) && !slices.ContainsFunc(c.AllowedIPs, wanted) {
		return nil
	}
	if shared, err := isShared(family, int(c.FwMark), ifindex); err != nil || shared {
		return failed("read the routes for", c.Interface, err)
	}
	for _, r := range obsoleteRules(have, c.FwMark) {
		if err := netlink.RuleDel(&r); err != nil && !errors.Is(err, unix.ENOENT) {
			return failed("delete the rules for", c.Interface, err)
		}
	}
	return nil
}

// isShared reports whether the default route of a table belongs to another interface.
func isShared(family, table, ifindex int) (bool, error) {
	all, err := listRoutes(family, table)
	return slices.ContainsFunc(all, func(r netlink.Route) bool {
		p, ok := prefix(r.Dst)
		return ok && isDefault(p) && r.Type == unix.RTN_UNICAST && r.LinkIndex != ifindex
	}), err
}
