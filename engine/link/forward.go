package link

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// setForwarding lets packets pass between the interface and the links that c names, through a table
// of our own and the sysctls that make a host a router. Masquerade implies it.
func (h *Host) setForwarding(ctx context.Context, c Config) error {
	if len(c.Forward) == 0 && len(c.Masquerade) == 0 {
		return h.unsetForwarding(ctx, c)
	}
	if err := replaceForwardTable(c); err != nil { // before the first packet can pass
		return err
	}
	switches := []string{forwardIPv4}
	if slices.ContainsFunc(slices.Concat(c.Addresses, c.AllowedIPs), func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		switches = append(switches, forwardIPv6)
	}
	if err := h.needForwarding(c.Interface, switches); err != nil {
		return err
	}
	h.warnOfDrops(c)
	return nil
}

// unsetForwarding takes that back. The sysctls go when no other interface of ours needs them.
func (h *Host) unsetForwarding(_ context.Context, c Config) error {
	return errors.Join(h.needForwarding(c.Interface, nil), dropForwardTable(c.Interface))
}

// followForwarding turns IPv6 on with the first peer that has such an address.
func (h *Host) followForwarding(ctx context.Context, before, after Config) error {
	is6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
	if len(after.Forward) == 0 && len(after.Masquerade) == 0 ||
		slices.ContainsFunc(before.AllowedIPs, is6) == slices.ContainsFunc(after.AllowedIPs, is6) {
		return nil
	}
	return h.setForwarding(ctx, after)
}

// warnOfDrops names the chains of others that will drop what ours lets pass: a packet must be
// accepted in every base chain of its hook.
func (h *Host) warnOfDrops(c Config) {
	var chains []*nftables.Chain
	conn, err := nftables.New()
	if err == nil {
		chains, err = conn.ListChains()
	}
	if err != nil {
		h.o.Logger.Warn("it can't be seen whether another firewall drops forwarded packets", "interface", c.Interface, "error", err)
	}
	var names []string
	for _, ch := range chains {
		if ch.Type != nftables.ChainTypeFilter || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward ||
			ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if family, ok := families[ch.Table.Family]; ok {
			names = append(names, family+" "+ch.Table.Name+" "+ch.Name)
		}
	}
	if len(names) > 0 {
		h.o.Logger.Warn("another firewall drops forwarded packets by default, which no rule of wgfleet can undo: accept those from and to the interface in its chain as well",
			"interface", c.Interface, "chains", strings.Join(names, ", "),
			"for_example", "nft insert rule "+names[0]+" iifname "+c.Interface+" accept; nft insert rule "+names[0]+" oifname "+c.Interface+" accept")
	}
}

// families are those whose forward hook sees IP packets that are routed, as nft(8) calls them.
var families = map[nftables.TableFamily]string{
	nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
}
