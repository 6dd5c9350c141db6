package link

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

func forwardTable(ifname string) *nftables.Table {
	return &nftables.Table{Name: "wgfleet-" + ifname, Family: nftables.TableFamilyINet}
}

// replaceForwardTable makes the table that c asks for in one transaction, whatever was left of it:
//
//	table inet wgfleet-IF {
//		chain forward {
//			type filter hook forward priority filter; policy accept;
//			iifname IF ct state established,related accept
//			iifname IF oifname LINK accept
//			iifname IF drop
//		}
//		chain postrouting {
//			type nat hook postrouting priority srcnat; policy accept;
//			iifname IF oifname LINK masquerade
//		}
//	}
//
// The first chain is there only where links are named, and the second only for Masquerade; where
// none is needed, there is no table.
func replaceForwardTable(c Config) error {
	restrict := len(c.Forward) > 0 && !slices.Contains(c.Forward, Any)
	if !restrict && len(c.Masquerade) == 0 {
		return dropForwardTable(c.Interface)
	}
	if len(c.Masquerade) > 0 {
		if err := canMasquerade(); err != nil {
			return err
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return forwardError(c.Interface, err)
	}
	table := forwardTable(c.Interface)
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	if restrict {
		chain := conn.AddChain(&nftables.Chain{
			Table: table, Name: "forward", Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		rule := func(parts ...[]expr.Any) {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(parts...)})
		}
		from, accept := linkIs(expr.MetaKeyIIFNAME, c.Interface), []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
		rule(from, isReturnTraffic(), accept)
		for _, name := range c.Forward {
			rule(from, linkIs(expr.MetaKeyOIFNAME, name), accept)
		}
		rule(from, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	}
	if len(c.Masquerade) > 0 {
		chain := conn.AddChain(&nftables.Chain{
			Table: table, Name: "postrouting", Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		for _, name := range c.Masquerade {
			to := linkIs(expr.MetaKeyOIFNAME, name)
			if name == Any {
				to = compareLink(expr.MetaKeyOIFNAME, expr.CmpOpNeq, c.Interface)
			}
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(
				linkIs(expr.MetaKeyIIFNAME, c.Interface), to, []expr.Any{&expr.Masq{}})})
		}
	}
	return forwardError(c.Interface, conn.Flush())
}

// dropForwardTable deletes the table of an interface where there is one.
func dropForwardTable(ifname string) error {
	conn, err := nftables.New()
	if err != nil {
		return forwardError(ifname, err)
	}
	table, err := conn.ListTableOfFamily(forwardTable(ifname).Name, nftables.TableFamilyINet)
	if errors.Is(err, unix.ENOENT) || hasNoFirewall(err) {
		return nil
	}
	if err != nil {
		return forwardError(ifname, err)
	}
	conn.DelTable(table)
	return forwardError(ifname, conn.Flush())
}

// canMasquerade refuses kernels that take the rule and never match it: until Linux 5.7 nobody knew
// in postrouting by which link a packet had come. What is older than 5.2 refuses the rule itself.
func canMasquerade() error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return fmt.Errorf("read the version of the kernel: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	if masquerades(release) {
		return nil
	}
	return fmt.Errorf("masquerade needs Linux 5.7 or newer, this is %s: upgrade it, or use PostUp and PostDown with nft(8)", release)
}

func masquerades(release string) bool {
	for minor := range 7 {
		if strings.HasPrefix(release, fmt.Sprintf("5.%d.", minor)) {
			return false
		}
	}
	return true
}

func forwardError(ifname string, err error) error {
	if hasNoFirewall(err) || errors.Is(err, unix.ENOENT) { // the latter: without one of the modules
		return fmt.Errorf("set the nftables rules of %s: the kernel needs nf_tables with nft_ct, nft_chain_nat and nft_masq: %w", ifname, err)
	}
	return failed("set the nftables rules of", ifname, err)
}

func linkIs(key expr.MetaKey, name string) []expr.Any { return compareLink(key, expr.CmpOpEq, name) }

func compareLink(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: padded}}
}

func isReturnTraffic() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
