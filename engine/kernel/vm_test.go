//go:build vm

package kernel_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

// The links of a kernel that has WireGuard pass the suite of all backends.
func TestKernelConformance(t *testing.T) {
	require.NoError(t, kernel.New().Usable())
	enginetest.RunConformance(t, func(*testing.T) engine.Backend { return kernel.New() })
}

// other is another program on the host that uses WireGuard.
func other(t *testing.T, f func(*wgctrl.Client) error) {
	t.Helper()
	c, err := wgctrl.New()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, f(c))
}

// An interface that something else brought up is found as it is, and nothing is changed by looking.
func TestTakeOver(t *testing.T) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = "wgx0", 1312
	l := &netlink.Wireguard{LinkAttrs: attrs}
	require.NoError(t, netlink.LinkAdd(l))
	t.Cleanup(func() { netlink.LinkDel(l) })
	key, psk, port, mark := enginetest.PrivateKey(t).Reveal(), wgtypes.Key{5}, 40000, 77
	_, all, _ := net.ParseCIDR("10.66.0.0/16")
	other(t, func(c *wgctrl.Client) error {
		return c.ConfigureDevice(attrs.Name, wgtypes.Config{
			PrivateKey: &key, ListenPort: &port, FirewallMark: &mark,
			Peers: []wgtypes.PeerConfig{{PublicKey: wgtypes.Key{1}, PresharedKey: &psk, AllowedIPs: []net.IPNet{*all}}},
		})
	})
	for _, a := range []string{"10.66.0.1/24", "10.66.1.1/32", "fd00:66::1/64"} {
		require.NoError(t, netlink.AddrAdd(l, address(a)))
	}
	require.NoError(t, netlink.LinkSetUp(l))
	require.NoError(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: all, Priority: 7}))
	before := snapshot(t, attrs.Name)
	changes := watch(t)

	b := kernel.New()
	names, err := b.Names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"wgx0"}, names)
	d, err := b.Attach(t.Context(), "wgx0")
	require.NoError(t, err)
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, engine.KindKernel, d.(engine.Kinded).Kind())
	require.Equal(t, engine.Normalize(engine.State{
		Interface: engine.Interface{
			Name: "wgx0", PrivateKey: engine.NewSecretKey(key), ListenPort: 40000, FwMark: 77, MTU: 1312,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.66.0.1/24"), netip.MustParsePrefix("10.66.1.1/32"), netip.MustParsePrefix("fd00:66::1/64")},
		},
		Peers: []engine.Peer{{PublicKey: wgtypes.Key{1}, PresharedKey: engine.NewSecretKey(psk), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}}},
	}), o.State)
	after, err := engine.Apply(t.Context(), d, o.State, engine.Diff(o.State, o.State, engine.DiffOptions{RemoveUnknown: true}))
	require.NoError(t, err)
	require.Equal(t, o, after)
	_, err = b.Create(t.Context(), engine.Interface{Name: "wgx0"})
	require.ErrorIs(t, err, engine.ErrInterfaceExists)

	require.Equal(t, before, snapshot(t, attrs.Name))
	require.NoError(t, netlink.AddrAdd(l, address("10.66.2.2/32")))
	told, _, err := changes.Receive()
	require.NoError(t, err)
	require.EqualValues(t, unix.RTM_NEWADDR, told[0].Header.Type, "the first change that the kernel told of is ours")
	require.Contains(t, string(told[0].Data), "\x0a\x42\x02\x02")

	p := enginetest.Peers(1)[0]
	_, err = engine.Apply(t.Context(), d, o.State, engine.Changes{Peers: []engine.PeerChange{{After: &p}}})
	require.NoError(t, err)
	require.NoError(t, d.Close(t.Context()), "what was taken over can be taken down")
	_, err = netlink.LinkByName("wgx0")
	require.Error(t, err)
}

// snapshot is all that the host says of an interface.
func snapshot(t *testing.T, name string) []any {
	t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	attrs := *l.Attrs()
	attrs.Statistics = nil
	addresses, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	require.NoError(t, err)
	routes, err := netlink.RouteList(l, netlink.FAMILY_ALL)
	require.NoError(t, err)
	rules, err := netlink.RuleList(netlink.FAMILY_ALL)
	require.NoError(t, err)
	var d *wgtypes.Device
	other(t, func(c *wgctrl.Client) (err error) {
		d, err = c.Device(name)
		return err
	})
	return []any{attrs, addresses, routes, rules, d}
}

// watch opens a socket on which the kernel tells of every change of links, addresses, routes and rules,
// in their order.
func watch(t *testing.T) *nl.NetlinkSocket {
	t.Helper()
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// A link that still has its peers when it is deleted waits for a grace period of RCU for each of them,
// one after the other. The kernel's own trace says in which order they went.
func TestClosePutsThePeersBeforeTheLink(t *testing.T) {
	const count = 100
	peers := enginetest.Peers(count)
	d, err := kernel.New().Create(t.Context(), plain(t))
	require.NoError(t, err)
	_, err = engine.Apply(t.Context(), d, engine.State{}, engine.Changes{Peers: engine.DiffPeers(nil, peers, engine.DiffOptions{})})
	require.NoError(t, err)
	trace := tracing(t, map[string]string{"peer_goes": "__netif_napi_del", "link_goes": "wireguard:wg_destruct"})
	require.NoError(t, d.Close(t.Context()))
	before, after, found := strings.Cut(trace(), "link_goes:")
	require.True(t, found)
	require.Equal(t, count, strings.Count(before, "peer_goes:"))
	require.Zero(t, strings.Count(after, "peer_goes:"))
}

// tracing has the kernel write down each call of these functions, by the names given here. What it
// returns reads that.
func tracing(t *testing.T, functions map[string]string) (read func() string) {
	t.Helper()
	const dir = "/sys/kernel/tracing/"
	write := func(file, text string) {
		t.Helper()
		f, err := os.OpenFile(dir+file, os.O_WRONLY|os.O_APPEND, 0)
		require.NoError(t, err)
		defer f.Close()
		_, err = f.WriteString(text + "\n")
		require.NoError(t, err)
	}
	for name, function := range functions {
		write("kprobe_events", "p:wgfleet/"+name+" "+function)
	}
	write("events/wgfleet/enable", "1")
	t.Cleanup(func() {
		write("events/wgfleet/enable", "0")
		for name := range functions {
			write("kprobe_events", "-:wgfleet/"+name)
		}
	})
	return func() string {
		b, err := os.ReadFile(dir + "trace")
		require.NoError(t, err)
		return string(b)
	}
}

func plain(t *testing.T) engine.Interface {
	return engine.Interface{Name: "wgt0", PrivateKey: enginetest.PrivateKey(t)}
}

// Two thousand peers, one of them with more allowed IPs than a message of the kernel holds, are read as
// they were written.
func TestABigDumpIsWhole(t *testing.T) {
	peers := enginetest.Peers(2000)
	for i := range peers {
		peers[i].AllowedIPs = append(peers[i].AllowedIPs, netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: byte(i)}), 128))
	}
	for i := range 3000 {
		peers[1000].AllowedIPs = append(peers[1000].AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32))
	}
	peers = engine.NormalizePeers(peers)
	d, err := kernel.New().Create(t.Context(), plain(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(context.Background())) })
	o, err := engine.Apply(t.Context(), d, engine.State{}, engine.Changes{Peers: engine.DiffPeers(nil, peers, engine.DiffOptions{})})
	require.NoError(t, err)
	require.Empty(t, engine.DiffPeers(o.Peers, peers, engine.DiffOptions{RemoveUnknown: true}))
	require.Len(t, o.Stats, len(peers))
}

// Peers that another program deleted meanwhile stay deleted, in a change of several messages too.
func TestAnUpdateNeverMakesAPeer(t *testing.T) {
	d, err := kernel.New().Create(t.Context(), plain(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(context.Background())) })
	peers := enginetest.Peers(100)
	o, err := engine.Apply(t.Context(), d, engine.State{}, engine.Changes{Peers: engine.DiffPeers(nil, peers, engine.DiffOptions{})})
	require.NoError(t, err)
	want := slices.Clone(peers)
	for i := range want {
		want[i].PersistentKeepalive = 25
	}
	other(t, func(c *wgctrl.Client) error {
		var gone []wgtypes.PeerConfig
		for _, p := range peers[:10] {
			gone = append(gone, wgtypes.PeerConfig{PublicKey: p.PublicKey, Remove: true})
		}
		return c.ConfigureDevice("wgt0", wgtypes.Config{Peers: gone})
	})
	require.NoError(t, d.Configure(t.Context(), engine.Changes{Peers: engine.DiffPeers(o.Peers, want, engine.DiffOptions{})}))
	o, err = d.Observe(t.Context())
	require.NoError(t, err)
	require.Empty(t, engine.DiffPeers(o.Peers, want[10:], engine.DiffOptions{RemoveUnknown: true}))
}

// Another program's UDP socket, not another WireGuard's.
func TestAPortInUseIsSaid(t *testing.T) {
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer c.Close()
	i := plain(t)
	i.ListenPort = netip.MustParseAddrPort(c.LocalAddr().String()).Port()
	b := kernel.New()
	_, err = b.Create(t.Context(), i)
	require.ErrorIs(t, err, engine.ErrPortInUse)
	require.ErrorContains(t, err, fmt.Sprint(i.ListenPort))
	names, err := b.Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
}

// Each call of a process without CAP_NET_ADMIN says what it lacks, and changes nothing.
func TestWithoutCapNetAdmin(t *testing.T) {
	b := kernel.New()
	d, err := b.Create(t.Context(), plain(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(context.Background())) })
	peers := enginetest.Peers(2)
	before, err := engine.Apply(t.Context(), d, engine.State{}, engine.Changes{Peers: engine.DiffPeers(nil, peers[:1], engine.DiffOptions{})})
	require.NoError(t, err)

	calls := map[string]func() error{
		"usable":  b.Usable,
		"create":  func() error { _, err := b.Create(t.Context(), engine.Interface{Name: "wgt1"}); return err },
		"attach":  func() error { _, err := b.Attach(t.Context(), "wgt0"); return err },
		"observe": func() error { _, err := d.Observe(t.Context()); return err },
		"configure": func() error {
			return d.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{After: &peers[1]}}})
		},
		"close": func() error { return d.Close(t.Context()) },
	}
	said := make(chan map[string]error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		errs := map[string]error{"drop": dropNetAdmin()}
		for name, call := range calls {
			errs[name] = call()
		}
		said <- errs
	}()
	errs := <-said
	require.NoError(t, errs["drop"])
	for name := range calls {
		require.ErrorIs(t, errs[name], engine.ErrNotPermitted, name)
		require.ErrorContains(t, errs[name], "CAP_NET_ADMIN", name)
	}
	after, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func dropNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	data[0].Permitted &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&header, &data[0])
}
