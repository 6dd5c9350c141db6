package link

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

func prefixesOf(all ...string) []netip.Prefix {
	out := []netip.Prefix{}
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestLongestFirst(t *testing.T) {
	require.Equal(t,
		prefixesOf("fd00::2/128", "10.9.9.9/32", "10.9.0.0/16", "10.0.0.0/8", "::/0", "0.0.0.0/0"),
		longestFirst(prefixesOf("0.0.0.0/0", "10.1.2.3/8", "10.9.0.0/16", "::/0", "10.9.0.0/16", "10.9.9.9/32", "fd00::2/128")))
	require.Empty(t, longestFirst(nil))
}

func TestCovered(t *testing.T) {
	by := setOf(prefixesOf("10.8.0.0/24", "fd00::/64"))
	for p, want := range map[string]bool{
		"10.8.0.2/32": true, "10.8.0.0/24": true, "10.8.0.0/23": false, "10.8.1.2/32": false,
		"fd00::7/128": true, "fd00:0:0:1::/64": false, "0.0.0.0/0": false, "::/0": false,
	} {
		require.Equal(t, want, covered(netip.MustParsePrefix(p), by), p)
	}
	require.True(t, covered(netip.MustParsePrefix("10.0.0.0/8"), setOf(prefixesOf("0.0.0.0/0"))))
	require.False(t, covered(netip.MustParsePrefix("fd00::/8"), setOf(prefixesOf("0.0.0.0/0"))))
}

func TestParseTable(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	debian := fstest.MapFS{
		"etc/iproute2/rt_tables":                 text("#\n# reserved values\n255\tlocal\n254 main\n\n 100 isp # the other one\nbroken\nx y\n"),
		"etc/iproute2/rt_tables.d/vpn.conf":      text("0x1F4 vpn\n"),
		"etc/iproute2/rt_tables.d/README":        text("7 readme\n"),
		"usr/share/iproute2/rt_tables":           text("9 unseen\n"),
		"usr/lib/iproute2/rt_tables.d/more.conf": text("10 more\n"),
	}
	newer := fstest.MapFS{"usr/share/iproute2/rt_tables": text("9 seen\n")}
	for _, c := range []struct {
		root fstest.MapFS
		in   string
		want routing
	}{
		{nil, "", routing{254, true}},
		{nil, "auto", routing{254, true}},
		{nil, "off", routing{}},
		{nil, "1234", routing{table: 1234}},
		{nil, "0x10", routing{table: 16}},
		{nil, "4294967295", routing{table: 1<<32 - 1}},
		{nil, "0", routing{table: 254}},
		{nil, "main", routing{table: 254}},
		{nil, "local", routing{table: 255}},
		{nil, "default", routing{table: 253}},
		{debian, "isp", routing{table: 100}},
		{debian, "vpn", routing{table: 500}},
		{debian, "more", routing{table: 10}},
		{newer, "seen", routing{table: 9}},
	} {
		got, err := parseTable(c.root, c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, got, c.in)
	}
	for _, in := range []string{"AUTO", "vpn", "-1", "4294967296", "12 34"} {
		_, err := parseTable(newer, in)
		_, ok := errors.AsType[*engine.FieldError](err)
		require.True(t, ok, "%s: %v", in, err)
		require.ErrorContains(t, err, in)
	}
	for _, in := range []string{"readme", "unseen", "y"} {
		_, err := parseTable(debian, in)
		require.Error(t, err, in)
	}
}

func TestSmallestMTU(t *testing.T) {
	require.Equal(t, engine.MinMTU, smallestMTU(prefixesOf("10.8.0.1/24")))
	require.Equal(t, engine.MinMTU6, smallestMTU(prefixesOf("10.8.0.1/24", "fd00::1/64")))
}

// ruleList is the rules of one family as the kernel keeps them.
type ruleList []netlink.Rule

func newRuleList() ruleList {
	rule := func(priority, table int) netlink.Rule {
		r := *netlink.NewRule()
		r.Priority, r.Table = priority, table
		return r
	}
	return ruleList{rule(0, unix.RT_TABLE_LOCAL), rule(32766, unix.RT_TABLE_MAIN), rule(32767, unix.RT_TABLE_DEFAULT)}
}

// add gives a rule without a priority its place as fib_default_rule_pref of the kernel does.
func (l *ruleList) add(r netlink.Rule) {
	if r.Priority < 0 {
		r.Priority = (*l)[1].Priority - 1
	}
	r.Mask = new(uint32(1<<32 - 1)) // as the kernel says it of every mark
	at, _ := slices.BinarySearchFunc(*l, r, func(a, b netlink.Rule) int { return a.Priority - b.Priority })
	*l = slices.Insert(*l, at, r)
}

func (l *ruleList) del(gone netlink.Rule) {
	*l = slices.DeleteFunc(*l, func(r netlink.Rule) bool { return r.Priority == gone.Priority && sameRule(r, gone) })
}

func (l *ruleList) String() (s string) {
	for _, r := range *l {
		s += fmt.Sprintf("%d: table %d mark %d not %v suppress %d\n", r.Priority, r.Table, r.Mark, r.Invert, r.SuppressPrefixlen)
	}
	return s
}

func (l *ruleList) up(mark uint32) {
	for _, r := range missingRules(*l, mark) {
		l.add(r)
	}
}

func (l *ruleList) down(mark uint32) {
	for _, r := range obsoleteRules(*l, mark) {
		l.del(r)
	}
}

// Interfaces with default routes come and go, a process dies between two steps, wg-quick(8) brings
// some up: each that is up has its rules once and in the right order, rules of others stay, and with the last
// interface all is as it was.
func TestRulesOfManyInterfaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list, foreign := newRuleList(), *netlink.NewRule()
		if rapid.Bool().Draw(t, "foreign rules") {
			foreign.Priority, foreign.Table, foreign.Mark = rapid.IntRange(1, 32765).Draw(t, "priority"), 52, 0x80000
			list.add(foreign)
		}
		before := list.String()
		up := make(map[uint32]bool)
		mark := rapid.Uint32Range(51820, 51823)
		t.Repeat(map[string]func(*rapid.T){
			"up": func(t *rapid.T) {
				m := mark.Draw(t, "mark")
				list.up(m)
				up[m] = true
				again := list.String()
				list.up(m)
				require.Equal(t, again, list.String(), "a second time changes nothing")
			},
			"up by wg-quick": func(t *rapid.T) {
				if m := mark.Draw(t, "mark"); !up[m] {
					list.add(selector(m))
					list.add(suppressor())
					up[m] = true
				}
			},
			"died while going up": func(t *rapid.T) {
				if m := mark.Draw(t, "mark"); !up[m] {
					list.add(selector(m))
					list.up(m)
					up[m] = true
				}
			},
			"died while going down": func(t *rapid.T) {
				m := mark.Draw(t, "mark")
				gone := obsoleteRules(list, m)
				for _, r := range gone[:rapid.IntRange(0, len(gone)).Draw(t, "steps")] {
					list.del(r)
				}
				list.down(m)
				delete(up, m)
			},
			"down": func(t *rapid.T) {
				m := mark.Draw(t, "mark")
				list.down(m)
				delete(up, m)
			},
			"": func(t *rapid.T) {
				seen, suppressed, suppressors := make(map[uint32]bool), false, 0
				for _, r := range list {
					switch {
					case isSuppressor(r):
						suppressed = true
						suppressors++
					case isSelector(r):
						require.True(t, suppressed, "%s", &list)
						require.True(t, up[r.Mark], "%s", &list)
						require.False(t, seen[r.Mark], "%s", &list)
						seen[r.Mark] = true
					}
				}
				require.Equal(t, len(up), len(seen), "%s", &list)
				require.LessOrEqual(t, suppressors, len(up), "%s", &list)
			},
		})
		for m := range up {
			list.down(m)
		}
		require.Equal(t, before, list.String())
	})
}

func TestOtherRulesAreNotOurs(t *testing.T) {
	for name, change := range map[string]func(*netlink.Rule){
		"another table": func(r *netlink.Rule) { r.Table = 7 },
		"from":          func(r *netlink.Rule) { r.Src = ipNet(netip.MustParsePrefix("10.0.0.0/8")) },
		"to":            func(r *netlink.Rule) { r.Dst = ipNet(netip.MustParsePrefix("10.0.0.0/8")) },
		"iif":           func(r *netlink.Rule) { r.IifName = "eth0" },
		"oif":           func(r *netlink.Rule) { r.OifName = "eth0" },
		"part of mark":  func(r *netlink.Rule) { r.Mask = new(uint32(0xff)) },
		"not":           func(r *netlink.Rule) { r.Invert = !r.Invert },
		"prefix length": func(r *netlink.Rule) { r.SuppressPrefixlen = 8 },
		"users":         func(r *netlink.Rule) { r.UIDRange = netlink.NewRuleUIDRange(1, 2) },
	} {
		a, b := selector(51820), suppressor()
		require.True(t, isSelector(a) && isSuppressor(b))
		change(&a)
		change(&b)
		require.False(t, isSelector(a) || isSuppressor(b), name)
	}
}
