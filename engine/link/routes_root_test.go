//go:build root

package link_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

const wg0Mark = 51820

// roadWarrior is an interface that all traffic goes through.
func roadWarrior(name string, mark uint32) link.Config {
	return link.Config{Interface: name, FwMark: mark, AllowedIPs: prefixes("0.0.0.0/0", "::/0", "10.9.0.0/16")}
}

func TestRoutesByTable(t *testing.T) {
	for _, c := range []struct {
		table   string
		allowed []string
		want    []string // beside those of the kernel
	}{
		{
			"",
			[]string{"10.8.0.2/32", "10.9.0.0/16", "10.9.0.5/32", "fd00:9::/64", "fd00:8::2/128"},
			[]string{"main 10.9.0.0/16 boot", "main 10.9.0.5 boot", "main fd00:9::/64 boot"},
		},
		{"auto", []string{"10.8.0.0/24", "10.8.0.0/23"}, []string{"main 10.8.0.0/23 boot"}},
		{"off", []string{"10.9.0.0/16", "0.0.0.0/0"}, nil},
		{
			"1234",
			[]string{"10.8.0.2/32", "0.0.0.0/0", "::/0"},
			[]string{"1234 default boot", "1234 10.8.0.2 boot", "1234 default boot"},
		},
		{"main", []string{"10.9.0.0/16", "::/0"}, []string{"main 10.9.0.0/16 boot", "main default boot"}},
		{"", nil, nil},
	} {
		t.Run("table "+c.table, func(t *testing.T) {
			newNet(t)
			addTun(t, "wg0", "10.8.0.1/24", "fd00:8::1/64")
			before, base := look(t), routesOf(t, "wg0")
			h := link.NewHost(link.Options{})
			conf := link.Config{Interface: "wg0", Table: c.table, AllowedIPs: prefixes(c.allowed...), FwMark: 7}
			require.NoError(t, h.Up(t.Context(), conf))
			require.ElementsMatch(t, append(base, c.want...), routesOf(t, "wg0"))
			require.Empty(t, rulesOf(t, "-4"))
			after := look(t)
			require.NoError(t, h.Up(t.Context(), conf), "what is there is taken over")
			require.Equal(t, after, look(t))
			require.NoError(t, h.Down(t.Context(), conf))
			require.Equal(t, before, look(t))
			require.NoError(t, h.Down(t.Context(), conf), "nothing is there")
		})
	}
}

func TestUnknownTable(t *testing.T) {
	newNet(t)
	addTun(t, "wg0")
	h := link.NewHost(link.Options{})
	conf := link.Config{Interface: "wg0", Table: "nowhere", AllowedIPs: prefixes("10.9.0.0/16")}
	for _, err := range []error{
		h.Up(t.Context(), conf), h.Follow(t.Context(), link.Config{}, conf), func() error { _, err := h.Choose(t.Context(), conf, nil); return err }(),
	} {
		field, ok := errors.AsType[*engine.FieldError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "table", field.Field)
	}
}

func TestDefaultRoutes(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24", "fd00:8::1/64")
	h := link.NewHost(link.Options{})
	before, conf := look(t), roadWarrior("wg0", wg0Mark)
	require.NoError(t, h.Up(t.Context(), conf))
	for _, family := range []string{"-4", "-6"} {
		require.Equal(t, []string{suppressed, "not from all fwmark 0xca6c lookup 51820"}, rulesOf(t, family))
		require.Contains(t, ip(t, family+" route show table 51820"), "default dev wg0")
	}
	require.Contains(t, ip(t, "route get 9.9.9.9"), "dev wg0")
	require.Contains(t, ip(t, "route get 9.9.9.9 mark 51820"), "dev eth0")
	require.Contains(t, ip(t, "route get 192.168.5.9"), "dev eth0", "the neighbours stay")
	after := look(t)
	require.Equal(t, "1\n", after["src_valid_mark"])
	require.NoError(t, h.Up(t.Context(), conf), "what a process left that was killed is taken over")
	require.Equal(t, after, look(t))

	// The link goes with a process that is killed; its rules and its firewall stay.
	require.NoError(t, link.Delete("wg0"))
	addTun(t, "wg0", "10.8.0.1/24", "fd00:8::1/64")
	require.NoError(t, h.Up(t.Context(), conf))
	require.Equal(t, after["nft"], look(t)["nft"])
	require.Len(t, rulesOf(t, "-4"), 2)
	require.Len(t, rulesOf(t, "-6"), 2)

	require.NoError(t, h.Down(t.Context(), conf))
	before["src_valid_mark"] = "1\n" // may be anyone's by now
	require.Empty(t, rulesOf(t, "-4"))
	require.Equal(t, before["nft"], look(t)["nft"])
	require.NoError(t, link.Delete("wg0"))
	require.NoError(t, h.Down(t.Context(), conf), "nothing is there")
}

func TestDownAfterTheLink(t *testing.T) {
	newNet(t)
	before := look(t)
	addTun(t, "wg0", "10.8.0.1/24")
	h, conf := link.NewHost(link.Options{}), roadWarrior("wg0", wg0Mark)
	require.NoError(t, h.Up(t.Context(), conf))
	require.NoError(t, link.Delete("wg0"))
	require.NoError(t, h.Down(t.Context(), conf))
	before["src_valid_mark"] = "1\n"
	require.Equal(t, before, look(t))
}

func TestOneFamilyOfDefaultRoutes(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24", "fd00:8::1/64")
	h := link.NewHost(link.Options{})
	require.NoError(t, h.Up(t.Context(), link.Config{Interface: "wg0", Table: "auto", FwMark: 77, AllowedIPs: prefixes("::/0")}))
	require.Empty(t, rulesOf(t, "-4"))
	require.Equal(t, []string{suppressed, "not from all fwmark 0x4d lookup 77"}, rulesOf(t, "-6"))
	require.NotContains(t, command(t, "nft", "list", "ruleset"), "table ip wg-quick-wg0")
	require.Equal(t, "0\n", look(t)["src_valid_mark"])
}

func TestTwoInterfacesWithDefaultRoutes(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24")
	addTun(t, "wg1", "10.7.0.1/24")
	h := link.NewHost(link.Options{})
	a, b := roadWarrior("wg0", wg0Mark), roadWarrior("wg1", wg0Mark+1)
	b.AllowedIPs = prefixes("0.0.0.0/0")
	require.NoError(t, h.Up(t.Context(), a))
	alone := look(t)
	require.NoError(t, h.Up(t.Context(), b))
	require.Contains(t, ip(t, "route get 192.168.5.9"), "dev eth0", "the neighbours stay")
	require.NoError(t, h.Down(t.Context(), b))
	require.Equal(t, alone, look(t), "what the other one needs is still there")
	require.NoError(t, h.Up(t.Context(), b))
	require.NoError(t, h.Down(t.Context(), a))
	require.Equal(t, []string{suppressed, "not from all fwmark 0xca6d lookup 51821"}, rulesOf(t, "-4"))
	require.Empty(t, rulesOf(t, "-6"))

	// One that wants the same table is refused and takes nothing along.
	before := look(t)
	same := roadWarrior("wg0", b.FwMark)
	require.ErrorIs(t, h.Up(t.Context(), same), engine.ErrAddressInUse)
	after := look(t)
	require.Equal(t, before, after)
	require.NoError(t, h.Down(t.Context(), b))
	require.Empty(t, rulesOf(t, "-4"))
}

// What is not ours stays, whatever looks alike.
func TestForeignRulesStay(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24")
	ip(t, "rule add fwmark 51820 table 51820")
	ip(t, "rule add from 10.8.0.0/24 table main suppress_prefixlength 0")
	ip(t, "rule add not fwmark 100 table 51820")
	command(t, "nft", "add table inet wg-quick-wg00; add table ip filter; add chain ip filter input { type filter hook input priority 0; }")
	before := look(t)
	h, conf := link.NewHost(link.Options{}), roadWarrior("wg0", wg0Mark)
	require.NoError(t, h.Up(t.Context(), conf))
	require.NoError(t, h.Down(t.Context(), conf))
	before["src_valid_mark"] = "1\n"
	require.Equal(t, before, look(t))
}

func TestUpLeavesNothingOnAnError(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24", "fd00:8::1/64")
	h := link.NewHost(link.Options{})
	ip(t, "route add 10.50.0.0/16 dev eth0")
	ip(t, "route add blackhole default table 51820")
	before := look(t)

	err := h.Up(t.Context(), link.Config{Interface: "wg0", AllowedIPs: prefixes("10.9.9.0/24", "10.50.0.0/16", "10.0.0.0/8")})
	require.ErrorIs(t, err, engine.ErrAddressInUse)
	require.ErrorContains(t, err, "the route to 10.50.0.0/16 in table 254 goes to eth0 already, so wg0 can't have it")
	require.Equal(t, before, look(t))

	err = h.Up(t.Context(), roadWarrior("wg0", wg0Mark))
	require.ErrorContains(t, err, "the route to 0.0.0.0/0 in table 51820 goes elsewhere already")
	before["src_valid_mark"] = "1\n"
	require.Equal(t, before, look(t), "IPv6 was set up before it")

	_, noMark := errors.AsType[*engine.FieldError](h.Up(t.Context(), roadWarrior("wg0", 0)))
	require.True(t, noMark)
	require.Equal(t, before, look(t))

	require.ErrorIs(t, h.Up(t.Context(), roadWarrior("wg7", 9)), engine.ErrUnknownInterface)
	require.Equal(t, before, look(t))

	late := &lateContext{Context: t.Context(), asks: 3}
	require.ErrorIs(t, h.Up(late, link.Config{Interface: "wg0", AllowedIPs: prefixes("10.9.9.0/24", "10.9.8.0/24", "10.9.7.0/24", "10.9.6.0/24")}), context.Canceled)
	require.Negative(t, late.asks, "it ended on the way")
	require.Equal(t, before, look(t))
}

// lateContext ends while it is in use.
type lateContext struct {
	context.Context
	asks int
}

func (c *lateContext) Err() error {
	if c.asks--; c.asks < 0 {
		return context.Canceled
	}
	return nil
}

// A container whose /proc/sys can't be written works where the setting is there already.
func TestReadOnlySysctls(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24")
	h, conf := link.NewHost(link.Options{}), roadWarrior("wg0", wg0Mark)
	before := look(t)
	readOnly := func() {
		require.NoError(t, unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""))
		require.NoError(t, unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	}
	readOnly()
	err := h.Up(t.Context(), conf)
	after := look(t)
	require.NoError(t, unix.Unmount("/proc/sys", unix.MNT_DETACH))
	require.ErrorIs(t, err, engine.ErrNotPermitted)
	require.ErrorContains(t, err, "net.ipv4.conf.all.src_valid_mark=1")
	require.Equal(t, before, after)

	command(t, "sysctl", "-q", "net.ipv4.conf.all.src_valid_mark=1")
	readOnly()
	err = h.Up(t.Context(), conf)
	require.NoError(t, unix.Unmount("/proc/sys", unix.MNT_DETACH))
	require.NoError(t, err)
}

func TestFollow(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24", "fd00:8::1/64")
	h, base := link.NewHost(link.Options{}), routesOf(t, "wg0")
	conf := func(table string, allowed ...string) link.Config {
		return link.Config{Interface: "wg0", Table: table, AllowedIPs: prefixes(allowed...), FwMark: wg0Mark}
	}
	require.NoError(t, h.Up(t.Context(), conf("", "10.9.0.0/16", "10.8.0.2/32")))
	ip(t, "route add 172.16.0.0/12 dev wg0") // a hook's
	ip(t, "route add 10.50.0.0/16 dev eth0")
	before := conf("", "10.9.0.0/16", "10.8.0.2/32")

	after := conf("", "10.9.0.5/32", "10.8.0.0/24", "172.16.5.0/24", "fd00:9::/64", "0.0.0.0/0")
	require.NoError(t, h.Follow(t.Context(), before, after))
	routes := append(base, "main 10.9.0.5 boot", "main 172.16.0.0/12 boot", "main fd00:9::/64 boot")
	require.ElementsMatch(t, routes, routesOf(t, "wg0"), "no default route, and none that is covered by others than peers")
	require.Empty(t, rulesOf(t, "-4"))
	require.NoError(t, h.Follow(t.Context(), after, after))
	require.ElementsMatch(t, routes, routesOf(t, "wg0"))
	wide := after
	wide.AllowedIPs = append(prefixes("fd00:9::5/128"), after.AllowedIPs...)
	require.NoError(t, h.Follow(t.Context(), after, wide))
	require.ElementsMatch(t, append(routes, "main fd00:9::5 boot"), routesOf(t, "wg0"), "a peer within the prefix of another, which may go")
	require.NoError(t, h.Follow(t.Context(), wide, after))
	require.ElementsMatch(t, routes, routesOf(t, "wg0"))

	// The peer that holds the interface's own subnet goes: the kernel's route stays.
	before, after = after, conf("", "10.9.0.5/32", "10.50.0.0/16", "10.60.0.0/16")
	require.ErrorIs(t, h.Follow(t.Context(), before, after), engine.ErrAddressInUse)
	require.ElementsMatch(t, append(base, "main 10.9.0.5 boot", "main 172.16.0.0/12 boot", "main 10.60.0.0/16 boot"),
		routesOf(t, "wg0"), "the others are set")

	require.NoError(t, h.Follow(t.Context(), conf("off", "10.9.0.5/32"), conf("off", "10.70.0.0/16")))
	require.NotContains(t, routesOf(t, "wg0"), "main 10.70.0.0/16 boot")
	require.Contains(t, routesOf(t, "wg0"), "main 10.9.0.5 boot")
	require.NoError(t, h.Follow(t.Context(), conf("1234"), conf("1234", "10.70.0.0/16", "0.0.0.0/0")))
	require.Subset(t, routesOf(t, "wg0"), []string{"1234 10.70.0.0/16 boot", "1234 default boot"})
	require.NoError(t, h.Follow(t.Context(), conf("1234", "10.70.0.0/16", "0.0.0.0/0"), conf("1234")))
	require.NotContains(t, routesOf(t, "wg0"), "1234 default boot")
}

// Default routes that stand are not touched while peers come and go.
func TestFollowWithDefaultRoutes(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24")
	h, conf := link.NewHost(link.Options{}), roadWarrior("wg0", wg0Mark)
	require.NoError(t, h.Up(t.Context(), conf))
	before, rest := look(t), conf
	rest.AllowedIPs = prefixes("10.9.0.0/16")
	require.NoError(t, h.Follow(t.Context(), conf, rest))
	require.Equal(t, before, look(t))
	require.NoError(t, h.Follow(t.Context(), rest, conf))
	require.Equal(t, before, look(t))
	require.NoError(t, h.Down(t.Context(), rest))
	require.Empty(t, rulesOf(t, "-4"))
	require.Empty(t, rulesOf(t, "-6"))
}

// The peers of an interface whose subnet is another by now are reached by routes of their own.
func TestFollowAfterAnotherAddress(t *testing.T) {
	newNet(t)
	addTun(t, "wg0", "10.8.0.1/24")
	h := link.NewHost(link.Options{})
	before := link.Config{Interface: "wg0", Addresses: prefixes("10.8.0.1/24"), AllowedIPs: prefixes("10.8.0.2/32", "10.9.0.0/16")}
	require.NoError(t, h.Up(t.Context(), before))
	after := before
	after.Addresses = prefixes("10.7.0.1/24")
	require.NoError(t, link.SetAddresses("wg0", after.Addresses))
	require.NoError(t, h.Follow(t.Context(), before, after))
	require.ElementsMatch(t, []string{"main 10.7.0.0/24 kernel", "main 10.8.0.2 boot", "main 10.9.0.0/16 boot"}, routesOf(t, "wg0"))
}

func TestChoose(t *testing.T) {
	newNet(t)
	h := link.NewHost(link.Options{})
	endpoint := func(all ...string) (out []netip.AddrPort) {
		for _, s := range all {
			out = append(out, netip.AddrPortFrom(netip.MustParseAddr(s), 51820))
		}
		return out
	}
	ip(t, "route add 203.0.113.7 via 192.168.5.1 mtu 1300")
	ip(t, "-6 route add 2001:db8::/32 via fd05::1 mtu 1400")
	ip(t, "route add unreachable 203.0.113.8")
	ip(t, "-6 route add fe80::/64 dev eth1")
	ip(t, "link set eth1 mtu 9000")
	ip(t, "addr add 192.168.6.2/24 dev eth1")
	six := prefixes("10.8.0.1/24", "fd00::1/64")
	for _, c := range []struct {
		name      string
		endpoints []netip.AddrPort
		addresses []netip.Prefix
		want      int
	}{
		{"no endpoint: the default route's link", nil, nil, 1400},
		{"the link of the way", endpoint("198.51.100.1"), nil, 1400},
		{"the route's own", endpoint("203.0.113.7"), nil, 1220},
		{"as an IPv6 address", endpoint("::ffff:203.0.113.7"), nil, 1220},
		{"too small for IPv6", endpoint("203.0.113.7"), six, 1280},
		{"over IPv6", endpoint("2001:db8::7"), six, 1320},
		{"the largest", endpoint("203.0.113.7", "192.168.6.9", "198.51.100.1"), nil, 8920},
		{"unreachable: the default route", endpoint("203.0.113.8"), nil, 1400},
		{"with a zone: passed over", endpoint("fe80::1%eth1"), nil, 1400},
		{"this host", endpoint("192.168.5.2"), nil, 65536 - 80},
	} {
		got, err := h.Choose(t.Context(), link.Config{Interface: "wg0", Addresses: c.addresses}, c.endpoints)
		require.NoError(t, err)
		require.Equal(t, link.Choice{MTU: c.want}, got, c.name)
	}
	ip(t, "route change default via 192.168.5.1 mtu 1250")
	got, err := h.Choose(t.Context(), link.Config{}, nil)
	require.NoError(t, err)
	require.Equal(t, 1170, got.MTU)
	ip(t, "route del default")
	got, err = h.Choose(t.Context(), link.Config{}, nil)
	require.NoError(t, err)
	require.Equal(t, 1420, got.MTU, "no default route")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.Choose(ctx, link.Config{}, endpoint("198.51.100.1"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestChooseFwMark(t *testing.T) {
	newNet(t)
	h := link.NewHost(link.Options{})
	choose := func(c link.Config) uint32 {
		got, err := h.Choose(t.Context(), c, nil)
		require.NoError(t, err)
		return got.FwMark
	}
	all := link.Config{Interface: "wg0", AllowedIPs: prefixes("10.9.0.0/16", "::/0")}
	require.EqualValues(t, 51820, choose(all))
	ip(t, "route add 10.0.0.0/8 dev eth0 table 51820")
	ip(t, "-6 route add fd99::/64 dev eth0 table 51821")
	ip(t, "route add 10.0.0.0/8 dev eth0 table 51823")
	require.EqualValues(t, 51822, choose(all))
	all.Table = "auto"
	require.EqualValues(t, 51822, choose(all))
	all.FwMark = 7
	require.EqualValues(t, 7, choose(all), "the device's own")
	require.Zero(t, choose(link.Config{AllowedIPs: prefixes("10.0.0.0/8", "0.0.0.0/1", "128.0.0.0/1")}))
	require.Zero(t, choose(link.Config{Table: "1234", AllowedIPs: prefixes("0.0.0.0/0")}))
	require.Zero(t, choose(link.Config{Table: "off", AllowedIPs: prefixes("0.0.0.0/0")}))
	require.EqualValues(t, 9, choose(link.Config{Table: "off", FwMark: 9}))
}
