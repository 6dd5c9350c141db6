//go:build root

package app

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

const badHostSecret = "a secret for this test alone"

// busyPort is a UDP port that another program has.
func busyPort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.LocalAddr().(*net.UDPAddr).Port
}

func wgConf(t *testing.T, dir, name, rest string) {
	t.Helper()
	key, err := engine.GeneratePrivateKey()
	require.NoError(t, err)
	text := "[Interface]\nPrivateKey = " + key.RevealText() + "\n" + rest
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "wireguard"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wireguard", name+".conf"), []byte(text), 0o600))
}

// startTUN runs an agent on TUN in dir.
func startTUN(t *testing.T, dir string) (*running, *client.Client) {
	t.Helper()
	require.NoError(t, link.Up("lo"))
	r := start(t, dir, "WGFLEET_BACKEND=tun", "WG_AGENT_SECRET="+badHostSecret)
	c, err := client.New(client.Options{BaseURL: r.AgentURL, Secret: badHostSecret})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return r, c
}

// refused checks that an error is one sentence of the agent's with that code.
func refused(t *testing.T, err error, code agent.Code, says ...string) {
	t.Helper()
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.NotNil(t, e.Agent, "%v", err)
	require.Equal(t, code, e.Agent.Code, "%v", err)
	require.NotContains(t, e.Agent.Message, "\n")
	for _, s := range says {
		require.Contains(t, e.Agent.Message, s)
	}
}

// One interface that can't come up stops neither the others nor the agent; the log says why in a line.
func TestInterfaceThatCannotComeUp(t *testing.T) {
	dir, port := t.TempDir(), busyPort(t)
	wgConf(t, dir, "wg0", "Address = 10.8.0.1/24\n")
	wgConf(t, dir, "wg1", "Address = 10.9.0.1/24\nListenPort = "+strconv.Itoa(port)+"\n")
	wgConf(t, dir, "wg2", "Address = 10.8.0.1/24\n")
	r, c := startTUN(t, dir)
	list, err := c.Interfaces(t.Context())
	require.NoError(t, err)
	up := map[string]bool{}
	for _, i := range list {
		up[i.Name] = i.Up
	}
	require.Equal(t, map[string]bool{"wg0": true, "wg1": false, "wg2": false}, up)
	for _, why := range []string{"UDP port " + strconv.Itoa(port) + " cannot be bound for wg1", "wg0 has 10.8.0.1 already, so wg2 can't have it"} {
		require.Contains(t, r.log.String(), why)
	}
	refused(t, c.Enable(t.Context(), "wg1"), agent.CodePortInUse, "cannot be bound for wg1")
	refused(t, c.Enable(t.Context(), "wg2"), agent.CodeAddressInUse, "wg0 has 10.8.0.1 already")
	for _, name := range []string{"wg1", "wg2"} {
		there, err := link.Exists(name)
		require.NoError(t, err)
		require.False(t, there)
	}
}

// What is refused changes neither the device nor the file.
func TestConfigurationThatCannotBe(t *testing.T) {
	dir, port := t.TempDir(), busyPort(t)
	wgConf(t, dir, "wg0", "Address = 10.8.0.1/24\n")
	wgConf(t, dir, "wg1", "Address = 10.9.0.1/24\n")
	_, c := startTUN(t, dir)
	read := func() (agent.InterfaceSummary, string) {
		s, err := c.Interface(t.Context(), "wg1")
		require.NoError(t, err)
		require.True(t, s.Up)
		file, err := os.ReadFile(filepath.Join(dir, "wireguard", "wg1.conf"))
		require.NoError(t, err)
		return s, string(file)
	}
	before, file := read()
	refused(t, c.PutConfig(t.Context(), "wg1", agent.ConfigUpdate{ListenPort: &port}), agent.CodePortInUse,
		"UDP port "+strconv.Itoa(port)+" cannot be bound for wg1", "put back")
	now, nowFile := read()
	require.Equal(t, before, now)
	require.Equal(t, file, nowFile)

	refused(t, c.PutConfig(t.Context(), "wg1", agent.ConfigUpdate{Address: new("10.8.0.1/24")}), agent.CodeAddressInUse,
		"wg0 has 10.8.0.1 already, so wg1 can't have it", "put back as it was")
	now, nowFile = read()
	require.Equal(t, before, now)
	require.Equal(t, file, nowFile)
}

// What the host lacks is said at the start, and nothing runs.
func TestHostWithoutTUN(t *testing.T) {
	require.NoError(t, unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, "")) // in the mount namespace of these tests
	t.Cleanup(func() { require.NoError(t, unix.Unmount("/dev/net", 0)) })
	_, err := tryStart(t, t.TempDir(), "WGFLEET_BACKEND=tun", "WG_AGENT_SECRET="+badHostSecret)
	require.EqualError(t, err, "the backend tun does not work here: tun: /dev/net/tun is not there: the kernel has no TUN driver, "+
		"or the container was not given the device: see `wgfleet version`, or set WGFLEET_BACKEND=auto")
}

func TestWithoutTheCapability(t *testing.T) {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with the goroutine, and its capabilities with it
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&h, &none[0]); err != nil {
			failed <- err
			return
		}
		_, err := chooseBackend(string(engine.KindTUN), "", nil, slog.New(slog.DiscardHandler))
		failed <- err
	}()
	err := <-failed
	require.ErrorIs(t, err, engine.ErrNotPermitted)
	require.Contains(t, err.Error(), "needs CAP_NET_ADMIN")
	require.NotContains(t, err.Error(), "\n")
}
