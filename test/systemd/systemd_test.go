//go:build root

package systemd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client"
)

// noPrivileges is an empty set of capabilities, as /proc/PID/status has it.
const noPrivileges = "0000000000000000"

func TestUnits(t *testing.T) {
	h := newHost(t)
	h.echo()
	step := func(name string, f func(h host)) {
		require.True(t, t.Run(name, func(t *testing.T) { f(host{t, h.node, h.client}) }))
	}
	step("a node of the host", func(h host) {
		// A hook of the administrator's runs under the same limits; a router's firewall is part of what the unit allows.
		h.write("/etc/wireguard/wg0.conf", h.quick("PostUp = echo up > /run/hooked\n# wgfleet: masquerade"), 0o600)
		require.Contains(h, h.sh(v1, "install", "--dry-run"), "Nothing was changed.")
		require.NoFileExists(h, "/etc/systemd/system/wgfleet.service")
		require.Contains(h, h.sh(v1, "install"), "wgfleet runs")
		require.Empty(h, h.sh("systemd-analyze", "verify", "wgfleet.service", "wgfleet.socket"))
		h.exposure(5.0)
		require.Contains(h, h.sh("/usr/local/bin/wgfleet", "health"), "ok, version")
		require.Equal(h, "0	0	0	0", h.status("Uid"))
		require.Equal(h, "0000000000003400", h.status("CapEff"), "CAP_NET_BIND_SERVICE, CAP_NET_ADMIN and CAP_NET_RAW")
		require.Equal(h, "1", h.status("NoNewPrivs"))
		require.FileExists(h, "/run/hooked")
		seen, err := h.agent().Dump(h.Context(), "wg0", client.Query{})
		require.NoError(h, err)
		require.Len(h, seen.Peers, 1)
		require.Equal(h, "active", h.sh("systemctl", "is-active", "wgfleet.socket"))
		for _, unit := range []string{"wgfleet.service", "wgfleet.socket"} {
			require.Equal(h, "enabled", h.sh("systemctl", "is-enabled", unit))
		}
		h.pings(h.peer()).end(h)
	})
	step("an upgrade under load", func(h host) {
		p := h.pings(h.peer())
		done := h.callers(4)
		before := h.pid()
		h.sh(v2, "install")
		require.NotEqual(h, before, h.pid())
		require.Contains(h, h.health(), `"version":"v2.0.0"`)
		calls, err := done()
		require.NoError(h, err, "no call may fail")
		h.Logf("%d calls, none failed; the longest time without an answer through the tunnel: %v", calls, p.end(h))
		require.Contains(h, h.sh(v2, "install"), "wgfleet runs", "again, though there is nothing to write")
	})
	step("a process that hangs", func(h host) {
		h.write("/run/systemd/system/wgfleet.service.d/soon.conf", "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n", 0o644)
		h.sh("systemctl", "daemon-reload")
		h.sh("systemctl", "restart", "wgfleet.service")
		h.comesBack(syscall.SIGSTOP)
		require.NoError(h, os.RemoveAll("/run/systemd/system/wgfleet.service.d"))
		h.sh("systemctl", "daemon-reload")
		h.sh("systemctl", "restart", "wgfleet.service")
		h.comesBack(syscall.SIGKILL)
		h.pings(h.peer()).end(h)
	})
	step("without privileges", func(h host) {
		h.sh(v2, "install", "--unprivileged")
		h.exposure(3.0)
		require.Empty(h, h.sh("systemd-analyze", "verify", "wgfleet.service"))
		require.NotRegexp(h, `^0\s`, h.status("Uid"))
		for _, set := range []string{"CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"} {
			require.Equal(h, noPrivileges, h.status(set), set)
		}
		require.Contains(h, h.health(), `"version":"v2.0.0"`)
		all, err := h.agent().Interfaces(h.Context())
		require.NoError(h, err)
		require.Empty(h, all, "the host's file is not its own")
		h.write("/var/lib/wgfleet/wireguard/wg0.conf", h.quick("# wgfleet: allow 127.0.0.0/8"), 0o644)
		h.sh("systemctl", "restart", "wgfleet.service")
		all, err = h.agent().Interfaces(h.Context())
		require.NoError(h, err)
		require.Len(h, all, 1)
		require.Equal(h, "netstack", all[0].Backend)
		c := h.peer()
		require.Eventually(h, func() bool {
			s, err := c.Stats()
			require.NoError(h, err)
			return !s.LastHandshake.IsZero()
		}, 20*time.Second, 50*time.Millisecond)
	})
	step("a panel of its own", func(h host) {
		h.sh(v2, "install", "--panel", "--no-agent")
		h.exposure(3.0)
		require.Contains(h, h.sh("/usr/local/bin/wgfleet", "node", "list"), "No nodes yet")
		require.Equal(h, noPrivileges, h.status("CapBnd"))
		require.NotContains(h, h.sh("journalctl", "--no-pager", "-u", "wgfleet.service"), h.sh("cat", "/var/lib/wgfleet/admin.key"))
		require.NoFileExists(h, "/etc/systemd/system/wgfleet.socket")
		_, err := get(h.Context(), agentAt+"/health")
		require.ErrorIs(h, err, syscall.ECONNREFUSED)
		h.goBack()
		require.Equal(h, "active", h.sh("systemctl", "is-active", "wgfleet-panel.socket"))
	})
	step("and back, with the panel", func(h host) {
		h.sh(v2, "install", "--panel")
		h.sh("/usr/local/bin/wgfleet", "reconcile", "--all", "--adopt", "--yes") // the peer that was there before the panel
		require.Contains(h, h.sh("/usr/local/bin/wgfleet", "drift"), "in sync")
		_, err := get(h.Context(), panelAt+"/api/health")
		require.NoError(h, err)
		h.goBack()
		for _, unit := range []string{"wgfleet.socket", "wgfleet-panel.socket"} {
			require.Equal(h, "active", h.sh("systemctl", "is-active", unit))
		}
	})
	step("away", func(h host) {
		out := h.sh(v2, "uninstall")
		require.Contains(h, out, "/etc/wireguard")
		left, err := filepath.Glob("/etc/systemd/system/wgfleet*")
		require.NoError(h, err)
		require.Empty(h, left)
		require.NoFileExists(h, "/usr/local/bin/wgfleet")
		require.FileExists(h, "/etc/wgfleet/agent.secret")
		require.FileExists(h, "/etc/wireguard/wg0.conf")
		_, err = get(h.Context(), agentAt+"/health")
		require.ErrorIs(h, err, syscall.ECONNREFUSED)
		require.Contains(h, h.sh(v2, "uninstall"), "There is nothing to do.")
	})
}

// goBack does what docs/backup.md says for an older wgfleet, while requests come in that start a service whose sockets are
// open. The copy of the store is made here, as an upgrade makes it.
func (h host) goBack() {
	h.Helper()
	const copied = "/var/lib/wgfleet/backups/20260131T120000.000Z-schema-1" // the document's
	text, err := os.ReadFile("docs/backup.md")
	require.NoError(h, err)
	_, block, found := strings.Cut(string(text), "```console root\n$ ")
	require.True(h, found)
	block, _, _ = strings.Cut(block, "```")
	commands := strings.ReplaceAll(block, "\n$ ", "\n")
	require.Contains(h, commands, filepath.Base(copied))

	h.sh("sh", "-ec", "systemctl stop 'wgfleet*.socket'; systemctl stop wgfleet; mkdir -p -m 700 "+filepath.Dir(copied)+
		"; cp -a /var/lib/wgfleet/panel "+copied+"; systemctl start --all 'wgfleet*.socket'; systemctl start wgfleet")
	h.sh("/usr/local/bin/wgfleet", "group", "add", "later")
	require.Contains(h, h.sh("/usr/local/bin/wgfleet", "group", "list"), "later")
	ctx, cancel := context.WithCancel(h.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_, _ = get(ctx, panelAt+"/api/health") // refused for a while
		}
	})
	h.sh("sh", "-ec", commands)
	cancel()
	wg.Wait()
	require.NotContains(h, h.sh("/usr/local/bin/wgfleet", "group", "list"), "later", "the panel is that of the copy")
	h.sh("rm", "-r", "/var/lib/wgfleet/panel.newer", filepath.Dir(copied))
}

// exposure is what systemd says of how confined the unit is: 0 is best.
func (h host) exposure(below float64) {
	h.Helper()
	out := h.sh("systemd-analyze", "security", "--no-pager", "wgfleet.service")
	found := regexp.MustCompile(`Overall exposure level for wgfleet.service: ([0-9.]+)`).FindStringSubmatch(out)
	require.NotNil(h, found, out)
	level, err := strconv.ParseFloat(found[1], 64)
	require.NoError(h, err)
	h.Logf("exposure %v", level)
	require.Less(h, level, below)
}

// callers ask the agent all the time, each call by a connection of its own, until the function that is returned ends them.
func (h host) callers(n int) func() (calls int64, err error) {
	ctx, cancel := context.WithCancel(h.Context())
	var wg sync.WaitGroup
	var count atomic.Int64
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				_, errs[i] = get(h.Context(), agentAt+"/health")
				count.Add(1)
			}
		})
	}
	return func() (int64, error) {
		cancel()
		wg.Wait()
		return count.Load(), errors.Join(errs...)
	}
}

// comesBack wants another process in the place of the one that gets a signal.
func (h host) comesBack(sig syscall.Signal) {
	h.Helper()
	before := h.pid()
	pid, err := strconv.Atoi(before)
	require.NoError(h, err)
	require.NoError(h, syscall.Kill(pid, sig))
	require.Eventually(h, func() bool {
		return h.property("ActiveState") == "active" && h.property("SubState") == "running" && h.pid() != before
	}, 20*time.Second, 50*time.Millisecond)
	require.Contains(h, h.health(), `"status":"ok"`)
}
