//go:build root

package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

const inNamespace = "WGFLEET_TEST_IN_NAMESPACE"

// isolated runs the test again in a network namespace of its own and reports whether this is that run.
func isolated(t *testing.T) bool {
	if os.Getenv(inNamespace) != "" {
		lo, err := netlink.LinkByName("lo")
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(lo))
		return true
	}
	cmd := exec.Command("unshare", "--net", "--mount", "sh", "-c", `mount -t tmpfs none /run/wireguard && exec "$@"`, "sh",
		os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return false
}

// TestReplayOnTUN is TestReplayOnNetstack on TUN interfaces.
func TestReplayOnTUN(t *testing.T) {
	if isolated(t) {
		uapi := t.TempDir()
		replayAll(&world{t: t, newBackend: func() engine.Backend { return userspace.NewTUN(userspace.Options{UAPIDir: uapi}) }})
	}
}

// TestReplayOnWGQuick is TestReplayOnNetstack on interfaces that the real wg-quick(8) has brought up,
// with a wireguard-go beside the agent, before the agent came.
func TestReplayOnWGQuick(t *testing.T) {
	if !isolated(t) {
		return
	}
	implementation := filepath.Join(t.TempDir(), "wireguard-go")
	out, err := exec.Command("go", "build", "-o", implementation, "golang.zx2c4.com/wireguard").CombinedOutput()
	require.NoError(t, err, "%s", out)
	replayAll(&world{
		t: t, attach: kernel.New(),
		newBackend: func() engine.Backend { return userspace.NewTUN(userspace.Options{}) },
		bringUp:    func(conf string) []string { return wgQuickUp(t, implementation, conf) },
	})
}

// wgQuickUp brings wg0 up and returns the names of the files that its hooks touched. This host has no
// resolvconf(8), without which wg-quick(8) knows no DNS.
func wgQuickUp(t *testing.T, implementation, conf string) (touched []string) {
	dir, made := t.TempDir(), t.TempDir()
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(conf, "touch /tmp/", "touch "+made+"/")) {
		if !strings.HasPrefix(line, "DNS") {
			lines = append(lines, line)
		}
	}
	path := filepath.Join(dir, "wg0.conf")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600))
	require.Eventually(t, func() bool { // an earlier wireguard-go is told by its link's end
		_, err := os.Stat(userspace.DefaultUAPIDir + "/wg0.sock")
		return os.IsNotExist(err)
	}, time.Minute, 5*time.Millisecond)
	cmd := exec.Command("wg-quick", "up", path)
	cmd.Env = append(os.Environ(), "WG_QUICK_USERSPACE_IMPLEMENTATION="+implementation)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	files, err := os.ReadDir(made)
	require.NoError(t, err)
	for _, f := range files {
		touched = append(touched, f.Name())
	}
	return touched
}
