package link

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// firewallTable is the name that wg-quick(8) gives its nftables tables, one of each family.
func firewallTable(ifname string) string { return "wg-quick-" + ifname }

// setFirewall makes the table that wg-quick(8) makes beside a default route, with the same chains
// and rules: packets to the addresses of the interface that come in elsewhere are dropped unless they
// are the host's own, and the mark of the tunnel's packets is put on the answers to them. It takes
// the place of one that is there already.
func setFirewall(l netlink.Link, family int, mark uint32) error {
	name := l.Attrs().Name
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(l, family) })
	if err != nil {
		return failed("read the addresses of", name, err)
	}
	conn, err := nftables.New()
	if err != nil {
		return firewallError(name, err)
	}
	table := &nftables.Table{Name: firewallTable(name), Family: nftables.TableFamilyIPv4}
	if family == netlink.FAMILY_V6 {
		table.Family = nftables.TableFamilyIPv6
	}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	chain := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return conn.AddChain(&nftables.Chain{
			Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority,
		})
	}
	preraw := chain("preraw", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	premangle := chain("premangle", nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
	postmangle := chain("postmangle", nftables.ChainHookPostrouting, nftables.ChainPriorityMangle)
	for _, a := range addrs {
		if p, ok := prefix(a.IPNet); ok {
			conn.AddRule(&nftables.Rule{Table: table, Chain: preraw, Exprs: dropForeign(name, p.Addr())})
		}
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: postmangle, Exprs: saveMark(mark)})
	conn.AddRule(&nftables.Rule{Table: table, Chain: premangle, Exprs: restoreMark()})
	return firewallError(name, conn.Flush())
}

// unsetFirewall deletes the tables of an interface, whoever made them.
func unsetFirewall(ifname string) error {
	conn, err := nftables.New()
	if err != nil {
		return firewallError(ifname, err)
	}
	tables, err := conn.ListTables()
	if hasNoFirewall(err) {
		return nil
	}
	if err != nil {
		return firewallError(ifname, err)
	}
	found := false
	for _, t := range tables {
		if t.Name == firewallTable(ifname) {
			conn.DelTable(t)
			found = true
		}
	}
	if !found {
		return nil
	}
	return firewallError(ifname, conn.Flush())
}

// hasNoFirewall is true of what a kernel without nf_tables answers.
func hasNoFirewall(err error) bool {
	return errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)
}

func firewallError(ifname string, err error) error {
	if hasNoFirewall(err) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("change the firewall of %s: the kernel needs nf_tables with nft_fib and nft_ct: %w", ifname, err)
	}
	return failed("change the firewall of", ifname, err)
}

// dropForeign is: iifname != IF ip daddr ADDR fib saddr type != local drop.
func dropForeign(ifname string, a netip.Addr) []expr.Any {
	offset := uint32(16) // of the destination in an IPv4 header
	if a.Is6() {
		offset = 24
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, ifname)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(a.BitLen() / 8)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
		&expr.Fib{Register: 1, FlagSADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// saveMark is: meta l4proto udp mark MARK ct mark set mark.
func saveMark(mark uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true},
	}
}

// restoreMark is: meta l4proto udp meta mark set ct mark.
func restoreMark() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Ct{Key: expr.CtKeyMARK, Register: 1},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true},
	}
}
