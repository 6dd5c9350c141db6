//go:build root

package server

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

const inNamespace = "WGFLEET_TEST_IN_NAMESPACE"

// TestReplayOnTUN is TestReplayOnNetstack on TUN interfaces, in a network namespace of its own.
func TestReplayOnTUN(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		cmd := exec.Command("unshare", "--net", os.Args[0], "-test.run=^TestReplayOnTUN$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return
	}
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(lo))
	uapi := t.TempDir()
	replayAll(t, func() engine.Backend { return userspace.NewTUN(userspace.Options{UAPIDir: uapi}) })
}
