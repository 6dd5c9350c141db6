//go:build root

package link

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

func wg0(forward, masquerade []string) Config {
	return Config{
		Interface: "wg0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.50.0.1/24"), netip.MustParsePrefix("fd50::1/64")},
		Forward: forward, Masquerade: masquerade,
	}
}

// theirs is a firewall of somebody else, as Docker has one: it must be left as it is.
const theirs = `
table inet wgfleet-wg {
	chain forward {
		type filter hook forward priority 10; policy accept;
	}
}
table ip filter {
	set good { type ipv4_addr; flags interval; elements = { 10.50.0.0/24 } }
	chain FORWARD {
		type filter hook forward priority 0; policy drop;
		ip saddr @good accept
		ip daddr @good accept
		ct state established,related accept
	}
}
table ip nat {
	chain POSTROUTING {
		type nat hook postrouting priority 100; policy accept;
		ip saddr 172.17.0.0/16 masquerade
	}
}
`

func TestForwardAnywhere(t *testing.T) {
	l, h := newLab(t), NewHost(Options{RunDir: t.TempDir()})
	before := sysctls(t)
	l.alice.doesNotReach(office4, office6)

	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{Any}, nil)))
	require.Empty(t, ruleset(t), "no restriction needs no rule")
	l.alice.reaches(office4, office6, bob4, bob6)
	l.office.reaches(alice4, alice6)
	require.Equal(t, alice4, l.alice.seenAt(l.office, office4))
	require.Equal(t, alice6, l.alice.seenAt(l.office, office6))
	l.alice.doesNotReach(world4, world6) // it knows no way back

	require.NoError(t, h.unsetForwarding(t.Context(), wg0([]string{Any}, nil)))
	require.Equal(t, before, sysctls(t))
	l.alice.doesNotReach(office4, office6)
}

func TestMasquerade(t *testing.T) {
	for name, links := range map[string][]string{"any": {Any}, "named": {"eth0"}} {
		t.Run(name, func(t *testing.T) {
			l, h := newLab(t), NewHost(Options{RunDir: t.TempDir()})
			run(t, "sh", "-c", "nft -f - <<'E'\n"+theirs+"E")
			before, rules := sysctls(t), ruleset(t)

			require.NoError(t, h.setForwarding(t.Context(), wg0(nil, links)))
			require.Equal(t, "192.0.2.1", l.alice.seenAt(l.world, world4))
			require.Equal(t, "2001:db8:1::1", l.alice.seenAt(l.world, world6))
			at4, at6 := alice4, alice6
			if name == "any" {
				at4, at6 = "198.51.100.1", "2001:db8:2::1"
			}
			require.Equal(t, at4, l.alice.seenAt(l.office, office4))
			require.Equal(t, at6, l.alice.seenAt(l.office, office6))
			require.Equal(t, alice4, l.alice.seenAt(l.bob, bob4))
			require.Equal(t, alice6, l.alice.seenAt(l.bob, bob6))
			require.Equal(t, office6, l.office.seenAt(l.world, world6), "what comes from elsewhere is not ours to hide")
			require.NotEqual(t, rules, ruleset(t))

			require.NoError(t, h.unsetForwarding(t.Context(), wg0(nil, links)))
			require.Equal(t, rules, ruleset(t))
			require.Equal(t, before, sysctls(t))
		})
	}
}

// TestForwardToNamedLinks: what comes from the interface leaves by no other link, what was asked for
// from there gets its answers.
func TestForwardToNamedLinks(t *testing.T) {
	l, h := newLab(t), NewHost(Options{RunDir: t.TempDir()})
	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{"eth0"}, []string{"eth0"})))
	l.alice.reaches(world4, world6)
	l.alice.doesNotReach(office4, office6, bob4, bob6)
	l.office.reaches(alice4, alice6)
	require.Equal(t, office4, l.office.seenAt(l.alice, alice4))
	require.Equal(t, office6, l.office.seenAt(l.alice, alice6))

	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{"eth0", "wg0"}, nil)))
	l.alice.reaches(bob4, bob6)
	l.alice.doesNotReach(office4, office6)
	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{"eth1", "eth9"}, nil)))
	l.alice.reaches(office4, office6)
	l.alice.doesNotReach(bob4, bob6)
	require.NoError(t, h.unsetForwarding(t.Context(), wg0(nil, nil)))
	require.Empty(t, ruleset(t))
}

// TestForwardingOutlivesProcesses: each call comes from another one.
func TestForwardingOutlivesProcesses(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	up := func(c Config) {
		t.Helper()
		require.NoError(t, NewHost(Options{RunDir: dir}).setForwarding(t.Context(), c))
	}
	before := sysctls(t)
	up(wg0([]string{"eth0"}, []string{"eth0"}))
	up(wg0(nil, []string{"eth1"})) // the first was killed, and the file changed
	require.NotContains(t, ruleset(t), "eth0")
	require.Equal(t, "198.51.100.1", l.alice.seenAt(l.office, office4))
	up(wg0(nil, nil))
	require.Empty(t, ruleset(t))
	require.Equal(t, before, sysctls(t))

	other := Config{Interface: "eth1", Forward: []string{Any}}
	gone := Config{Interface: "gone0", Masquerade: []string{Any}}
	up(wg0([]string{Any}, nil))
	up(other)
	run(t, "ip", "link", "add", "gone0", "type", "bridge")
	up(gone)
	run(t, "ip", "link", "del", "gone0") // with its process, which said nothing
	require.NoError(t, NewHost(Options{RunDir: dir}).unsetForwarding(t.Context(), wg0(nil, nil)))
	require.Equal(t, []string{"1", "0"}, switchesNow(t), "the other interface needs IPv4")
	require.NoError(t, NewHost(Options{RunDir: dir}).unsetForwarding(t.Context(), other))
	require.Equal(t, []string{"0", "0"}, switchesNow(t))
	require.NoError(t, NewHost(Options{RunDir: dir}).unsetForwarding(t.Context(), gone))
	require.Equal(t, before, sysctls(t))
	require.Empty(t, ruleset(t))
	require.NoError(t, NewHost(Options{RunDir: t.TempDir()}).unsetForwarding(t.Context(), wg0(nil, nil)), "nothing to take back")
}

func switchesNow(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, name := range []string{forwardIPv4, forwardIPv6} {
		v, err := readSysctl(name)
		require.NoError(t, err)
		out = append(out, v)
	}
	return out
}

func TestForwardingThatWasOnStaysOn(t *testing.T) {
	newLab(t)
	h := NewHost(Options{RunDir: t.TempDir()})
	require.NoError(t, writeSysctl(forwardIPv4, "1"))
	before := sysctls(t)
	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{Any}, nil)))
	require.NoError(t, h.unsetForwarding(t.Context(), wg0(nil, nil)))
	require.Equal(t, before, sysctls(t))
}

// TestForwardingFollowsPeers: IPv6 comes with the first peer that has it.
func TestForwardingFollowsPeers(t *testing.T) {
	newLab(t)
	h := NewHost(Options{RunDir: t.TempDir()})
	c := wg0([]string{Any}, nil)
	c.Addresses = c.Addresses[:1]
	require.NoError(t, h.setForwarding(t.Context(), c))
	require.Equal(t, []string{"1", "0"}, switchesNow(t))
	more := c
	more.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("fd51::/64")}
	require.NoError(t, h.followForwarding(t.Context(), c, more))
	require.Equal(t, []string{"1", "1"}, switchesNow(t))
	require.NoError(t, h.followForwarding(t.Context(), more, c))
	require.Equal(t, []string{"1", "0"}, switchesNow(t))
	require.NoError(t, h.unsetForwarding(t.Context(), c))
	require.Equal(t, []string{"0", "0"}, switchesNow(t))
}

// TestForwardingKeepsAdvertisedRoutes: a host that has its own IPv6 from router advertisements has it
// afterwards as well. The world is its router.
func TestForwardingKeepsAdvertisedRoutes(t *testing.T) {
	l := newLab(t)
	h := NewHost(Options{RunDir: t.TempDir()})
	require.NoError(t, writeSysctl("net/ipv6/conf/eth0/accept_ra", "1"))
	require.Eventually(t, l.hearsAdvertisement(l.world), eventually, tick)
	before := sysctls(t)

	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{Any}, nil)))
	require.Equal(t, []string{"1", "1"}, switchesNow(t))
	require.Contains(t, run(t, "ip", "-6", "route", "show", "default"), "dev eth0 proto ra")
	value, err := readSysctl("net/ipv6/conf/eth1/accept_ra")
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(before[procSys+"net/ipv6/conf/eth1/accept_ra"]), value, "no router speaks there")

	require.NoError(t, h.unsetForwarding(t.Context(), wg0(nil, nil)))
	require.Contains(t, run(t, "ip", "-6", "route", "show", "default"), "dev eth0 proto ra")
	require.Equal(t, before, sysctls(t))
}

// TestForwardingNamesFirewallsThatDrop: the packets of others are their owner's business.
func TestForwardingNamesFirewallsThatDrop(t *testing.T) {
	newLab(t)
	var log bytes.Buffer
	h := NewHost(Options{RunDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{"eth0"}, nil)))
	require.Empty(t, log.String())
	run(t, "sh", "-c", "nft -f - <<'E'\n"+theirs+"E")
	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{"eth0"}, nil)))
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), `chains="ip filter FORWARD"`)
	require.Contains(t, log.String(), "nft insert rule ip filter FORWARD iifname wg0 accept")
}

func TestForwardingWithReadOnlySysctls(t *testing.T) {
	newLab(t)
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNS)) // of this thread
	require.NoError(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	require.NoError(t, unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""))
	require.NoError(t, unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	h := NewHost(Options{RunDir: t.TempDir()})
	before := sysctls(t)
	err := h.setForwarding(t.Context(), wg0([]string{"eth0"}, nil))
	require.ErrorContains(t, err, "set net.ipv4.ip_forward=1: /proc/sys is read-only here: set it where this container is started (--sysctl net.ipv4.ip_forward=1)")
	require.NoError(t, h.unsetForwarding(t.Context(), wg0(nil, nil)))
	require.Empty(t, ruleset(t))
	require.Equal(t, before, sysctls(t))

	require.NoError(t, unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT, ""))
	require.NoError(t, writeSysctl(forwardIPv4, "1"))
	require.NoError(t, writeSysctl(forwardIPv6, "1"))
	require.NoError(t, unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	require.NoError(t, h.setForwarding(t.Context(), wg0([]string{"eth0"}, nil)), "it is as wanted already")
	require.NoError(t, h.unsetForwarding(t.Context(), wg0(nil, nil)))
	require.Empty(t, ruleset(t))
}

func TestForwardingWithoutPrivileges(t *testing.T) {
	newLab(t)
	h := NewHost(Options{RunDir: t.TempDir()})
	before := sysctls(t)
	withoutNetAdmin(t)
	for _, c := range []Config{wg0([]string{"eth0"}, nil), wg0(nil, []string{Any})} {
		require.ErrorIs(t, h.setForwarding(context.Background(), c), engine.ErrNotPermitted)
		require.Empty(t, ruleset(t)) // a program that root starts has all of its privileges again
		require.Equal(t, before, sysctls(t))
	}
	entries, err := os.ReadDir(h.o.RunDir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// withoutNetAdmin takes CAP_NET_ADMIN from the thread of the test.
func withoutNetAdmin(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &data[0]))
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	require.NoError(t, unix.Capset(&header, &data[0]))
}
