//go:build root

package link_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine/link"
)

// newNet gives the calling test a network namespace of its own, with lo and eth0 up, 192.168.5.2/24 and
// an IPv4 default route through it. It ends with the test's thread: a subtest needs its own.
func newNet(t *testing.T) {
	t.Helper()
	require.Zero(t, os.Geteuid(), "the tests with the tag root need root")
	runtime.LockOSThread() // for good: a thread that changed its namespace serves nothing else
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
	// As the kernel's own WireGuard has it: no link-local address that comes later.
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0o600))
	require.NoError(t, link.Up("lo"))
	ip(t, "link add eth0 type veth peer name eth1")
	ip(t, "addr add 192.168.5.2/24 dev eth0")
	ip(t, "-6 addr add fd05::2/64 dev eth0 nodad")
	ip(t, "link set eth0 mtu 1480 up")
	ip(t, "link set eth1 up")
	ip(t, "route add default via 192.168.5.1")
	until(t, func() bool { return strings.Count(ip(t, "link"), "state UP") == 2 })
}

// until waits for what the kernel does by itself, on the test's own thread.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		require.True(t, time.Now().Before(deadline), "this takes too long")
	}
}

// addTun makes a link that is up, as a WireGuard interface with these addresses is.
func addTun(t *testing.T, name string, addresses ...string) {
	t.Helper()
	ip(t, "tuntap add mode tun dev "+name)
	require.NoError(t, link.Up(name))
	require.NoError(t, link.SetAddresses(name, prefixes(addresses...)))
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

func ip(t *testing.T, args string) string {
	t.Helper()
	return command(t, "ip", strings.Fields(args)...)
}

func prefixes(all ...string) []netip.Prefix {
	out := []netip.Prefix{}
	for _, s := range all {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// snapshot is all that the programs of the host show of what this package sets.
type snapshot map[string]any

func look(t *testing.T) snapshot {
	t.Helper()
	until(t, func() bool { return !strings.Contains(ip(t, "addr"), "tentative") })
	s := snapshot{"nft": command(t, "nft", "list", "ruleset")}
	for _, args := range []string{
		"-d -j addr", "-d -j -4 route show table all", "-d -j -6 route show table all", "-d -j -4 rule", "-d -j -6 rule",
	} {
		var v any
		require.NoError(t, json.Unmarshal([]byte(ip(t, args)), &v))
		s[args] = v
	}
	mark, err := os.ReadFile("/proc/sys/net/ipv4/conf/all/src_valid_mark")
	require.NoError(t, err)
	s["src_valid_mark"] = string(mark)
	return s
}

// routesOf is the unicast routes of the interface, one a line: table, prefix, protocol.
func routesOf(t *testing.T, name string) []string {
	t.Helper()
	var out []string
	for _, family := range []string{"-4", "-6"} {
		var all []struct{ Type, Dst, Dev, Table, Protocol, Scope string }
		require.NoError(t, json.Unmarshal([]byte(ip(t, "-d -j "+family+" route show table all")), &all))
		for _, r := range all {
			if r.Dev == name && r.Type == "unicast" {
				out = append(out, r.Table+" "+r.Dst+" "+r.Protocol)
			}
		}
	}
	return out
}

// rulesOf is the rules of a family but for those that each host has.
func rulesOf(t *testing.T, family string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(ip(t, family+" rule")) {
		_, rule, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		switch rule {
		case "from all lookup local", "from all lookup main", "from all lookup default":
		default:
			out = append(out, rule)
		}
	}
	return out
}

const suppressed = "from all lookup main suppress_prefixlength 0"
