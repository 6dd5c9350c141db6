//go:build root

package migrate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

const (
	wgfleet = "/opt/wgfleet/wgfleet"
	from    = "/opt/wgdashboard-agent"
	oldUnit = "wgdashboard-agent.service"
	secret  = `a "secret" of $several \words, 0123456789`
	agentAt = "http://127.0.0.1:8080"

	envFile  = "/etc/wgfleet/wgfleet.env"
	unitFile = "/etc/systemd/system/wgfleet.service"
	record   = "/var/lib/wgfleet/migration.json"
)

// host is what the test knows of the host.
type host struct {
	*testing.T
	secrets []string // none of these may be printed
}

// sh runs a program that must end well.
func (h host) sh(name string, args ...string) string {
	h.Helper()
	out, err := exec.CommandContext(h.Context(), name, args...).CombinedOutput()
	require.NoError(h, err, "%s %s: %s", name, strings.Join(args, " "), out)
	return strings.TrimSpace(string(out))
}

func (h host) write(path, text string, mode os.FileMode) {
	h.Helper()
	require.NoError(h, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(h, os.WriteFile(path, []byte(text), mode))
	require.NoError(h, os.Chmod(path, mode))
}

// migrate runs the command and wants an exit status.
func (h host) migrate(status int, args ...string) string {
	h.Helper()
	cmd := exec.CommandContext(h.Context(), wgfleet, append([]string{"migrate"}, args...)...)
	out, err := cmd.CombinedOutput()
	h.Logf("wgfleet migrate %s\n%s", strings.Join(args, " "), out)
	require.Equal(h, status, cmd.ProcessState.ExitCode(), "%v: %s", err, out)
	h.silent(out)
	return string(out)
}

func (h host) silent(out []byte) {
	h.Helper()
	for _, s := range h.secrets {
		require.NotContains(h, string(out), s)
	}
}

// state is ActiveState and UnitFileState.
func (h host) state(unit string) string {
	h.Helper()
	return strings.ReplaceAll(h.sh("systemctl", "show", "--value", "-p", "ActiveState,UnitFileState", unit), "\n", " ")
}

func newHost(t *testing.T) host {
	t.Helper()
	comm, err := os.ReadFile("/proc/1/comm")
	require.NoError(t, err)
	require.Equal(t, "systemd\n", string(comm), "this test changes the host: run make test-migrate")
	h := host{t, []string{secret}}
	quickEnv := "[Service]\nEnvironment=WG_QUICK_USERSPACE_IMPLEMENTATION=/opt/test/wireguard-go\n"
	h.write("/etc/systemd/system/wg-quick@.service.d/test.conf", quickEnv, 0o644)
	for i := range 3 {
		private, err := wgtypes.GeneratePrivateKey()
		require.NoError(t, err)
		text := fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.%d.0.1/24\nListenPort = %d\n", private, 80+i, 51820+i)
		h.secrets = append(h.secrets, private.String())
		for n := range 5 {
			peer, err := wgtypes.GeneratePrivateKey()
			require.NoError(t, err)
			psk, err := wgtypes.GenerateKey()
			require.NoError(t, err)
			h.secrets = append(h.secrets, psk.String())
			text += fmt.Sprintf("\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.%d.0.%d/32\nPersistentKeepalive = %d\n",
				peer.PublicKey(), psk, 80+i, 2+n, 20+n)
		}
		h.write(fmt.Sprintf("/etc/wireguard/wg%d.conf", i), text, 0o600)
	}
	require.NoError(t, os.Chmod("/etc/wireguard/wg1.conf", 0o644))

	// The old agent, as its instructions have it: a unit that is linked from its own folder.
	program, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	h.write(from+"/venv/bin/python", string(program), 0o755)
	h.write(from+"/main.py", "", 0o644)
	h.write(from+"/.env", "# the agent\nWG_AGENT_SECRET="+secret+"\nWG_AGENT_PORT=9999\nWG_AGENT_LOG_LEVEL=debug\n", 0o600)
	h.write(from+"/deploy/"+oldUnit, "[Service]\nWorkingDirectory="+from+"\nEnvironment=\"WG_AGENT_PORT=8080\"\n"+
		"Environment=WG_QUICK_USERSPACE_IMPLEMENTATION=/opt/test/wireguard-go\n"+
		"ExecStart="+from+"/venv/bin/python main.py\nRestart=always\n[Install]\nWantedBy=multi-user.target\n", 0o644)
	h.sh("systemctl", "mask", "network-online.target") // there is no network to wait for
	h.sh("systemctl", "enable", "--now", "wg-quick@wg0.service")
	h.sh("systemctl", "enable", "--now", from+"/deploy/"+oldUnit)
	h.old()
	return h
}

// old wants the old agent to answer, and no trace of ours.
func (h host) old() {
	h.Helper()
	c, err := client.New(client.Options{BaseURL: agentAt, Secret: secret})
	require.NoError(h, err)
	defer c.Close()
	require.Eventually(h, func() bool {
		_, err := c.Dump(h.Context(), "wg0", client.Query{})
		return err == nil && c.Original()
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(h, "active enabled", h.state(oldUnit))
	require.Equal(h, "inactive", strings.TrimSpace(h.state("wgfleet.service")))
	for _, path := range []string{envFile, filepath.Dir(envFile), unitFile, record} {
		require.NoFileExists(h, path)
		require.NoDirExists(h, path)
	}
}

// ours wants wgfleet to answer with what the devices have.
func (h host) ours() {
	h.Helper()
	c, err := client.New(client.Options{BaseURL: agentAt, Secret: secret})
	require.NoError(h, err)
	defer c.Close()
	for _, name := range []string{"wg0", "wg1"} {
		d, err := kernel.New().Attach(h.Context(), name)
		require.NoError(h, err)
		seen, err := d.Observe(h.Context())
		require.NoError(h, err)
		snap, err := c.Dump(h.Context(), name, client.Query{})
		require.NoError(h, err)
		require.Len(h, snap.Peers, 5)
		for i, p := range snap.Peers {
			require.Equal(h, seen.Peers[i], p.Peer)
		}
	}
	require.False(h, c.Original())
	require.Equal(h, "active enabled", h.state("wgfleet.service"))
	require.Equal(h, "inactive", strings.TrimSpace(h.state(oldUnit)))
	_, err = c.Dump(h.Context(), "wg2", client.Query{})
	require.Error(h, err, "what was down stays down")
}

// devices tells interfaces apart that came and went, by their index and their process.
func (h host) devices() string {
	h.Helper()
	var out []string
	for _, name := range []string{"wg0", "wg1"} {
		index, err := os.ReadFile("/sys/class/net/" + name + "/ifindex")
		require.NoError(h, err)
		out = append(out, name+" "+strings.TrimSpace(string(index)))
	}
	paths, err := filepath.Glob("/proc/[0-9]*/comm")
	require.NoError(h, err)
	for _, path := range paths {
		if comm, err := os.ReadFile(path); err == nil && string(comm) == "wireguard-go\n" {
			out = append(out, path)
		}
	}
	require.Len(h, out, 4)
	return strings.Join(out, ", ")
}

func (h host) mode(path string) os.FileMode {
	h.Helper()
	info, err := os.Stat(path)
	require.NoError(h, err)
	return info.Mode().Perm()
}

func TestThereAndBack(t *testing.T) {
	h := newHost(t)
	before := h.devices()
	step := func(name string, f func(h host)) {
		require.True(t, t.Run(name, func(t *testing.T) {
			f(host{t, h.secrets})
			require.Equal(t, before, h.devices(), "the interfaces are the ones that were there before")
		}))
	}

	step("the plan", func(h host) {
		out := h.migrate(0, "--from", from)
		for _, want := range []string{
			"run by wgdashboard-agent.service (active, enabled)",
			"listens on 0.0.0.0 port 8080, log level DEBUG, requests are valid for 300 s",
			"wg-quick@wg0.service (active, enabled), /etc/wireguard/wg0.conf",
			"wg1 is served by wireguard-go (process ", "it is left running when wgdashboard-agent.service stops",
			"wg2 is down and stays so: WGFLEET_UP=wg0,wg1",
			"/etc/wireguard/wg1.conf holds a private key and is open to others (0644)",
			"Nothing was changed",
		} {
			require.Contains(h, out, want)
		}
		var plan struct{ Outcome string }
		require.NoError(h, json.Unmarshal([]byte(h.migrate(0, "--from", from, "--json")), &plan))
		require.Equal(h, "planned", plan.Outcome)
		h.old()
	})
	step("apply", func(h host) {
		out := h.migrate(0, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet runs this host now")
		h.ours()
		require.Equal(h, os.FileMode(0o600), h.mode(envFile))
		require.Equal(h, os.FileMode(0o700), h.mode(filepath.Dir(envFile)))
		require.Equal(h, os.FileMode(0o600), h.mode(record))
		kept, err := os.ReadFile(record)
		require.NoError(h, err)
		h.silent(kept)
		require.Contains(h, h.migrate(0, "--apply"), "this host was moved to wgfleet on ")
		h.ours()
		h.sh("systemctl", "restart", "wgfleet.service")
		require.Eventually(h, func() bool { return exec.CommandContext(h.Context(), wgfleet, "health").Run() == nil }, 10*time.Second, 20*time.Millisecond)
		h.ours()
	})
	step("undo", func(h host) {
		require.Contains(h, h.migrate(0, "--undo"), "The agent in "+from+" runs this host again.")
		h.old()
		require.Contains(h, h.migrate(0, "--undo"), "There is no migration to undo.")
		h.old()
	})
	step("ours does not start", func(h host) {
		require.NoError(h, os.MkdirAll("/var/lib/wgfleet", 0o700))
		lock, err := os.OpenFile("/var/lib/wgfleet/lock", os.O_CREATE|os.O_RDWR, 0o600)
		require.NoError(h, err)
		defer lock.Close()
		require.NoError(h, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		out := h.migrate(1, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet: wgfleet.service does not answer as it should: it does not start: `journalctl -u wgfleet` says why; this host is as it was before")
		h.old()
	})
	step("a port of somebody else's", func(h host) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(h, err)
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(h, err)
		dropIn := "/etc/systemd/system/" + oldUnit + ".d/port.conf"
		h.write(dropIn, "[Service]\nEnvironment=WG_AGENT_PORT="+port+"\n", 0o644)
		out := h.migrate(1, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet: port "+port+" is in use by host.test (process ")
		require.NoError(h, os.RemoveAll(filepath.Dir(dropIn)))
		h.old()
	})
	step("another secret than the panel's", func(h host) {
		env, err := os.ReadFile(from + "/.env")
		require.NoError(h, err)
		h.write(from+"/.env", "WG_AGENT_SECRET=0123456789abcdef0123456789abcdef\n", 0o600)
		out := h.migrate(1, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet: the running agent does not take the secret that its files say")
		h.write(from+"/.env", string(env), 0o600)
		h.old()
	})
	step("interrupted", func(h host) {
		require.Equal(h, 130, h.stopMidway(syscall.SIGINT))
		h.old()
	})
	step("killed", func(h host) {
		require.Equal(h, -1, h.stopMidway(syscall.SIGKILL))
		require.Contains(h, h.migrate(1, "--apply"), "was cut short: go back with `wgfleet migrate --undo`")
		h.migrate(0, "--undo")
		h.old()
	})
}

// stopMidway signals --apply while it waits for the old agent to stop, and returns its exit status.
func (h host) stopMidway(sig os.Signal) int {
	h.Helper()
	h.write(hold, "", 0o600)
	cmd := exec.CommandContext(h.Context(), wgfleet, "migrate", "--from", from, "--apply")
	var out bytes.Buffer
	cmd.Stdout = &out
	progress, err := cmd.StderrPipe()
	require.NoError(h, err)
	require.NoError(h, cmd.Start())
	lines := bufio.NewScanner(progress)
	for lines.Scan() {
		h.Log(lines.Text())
		h.silent(lines.Bytes())
		switch {
		case strings.Contains(lines.Text(), " stop "+oldUnit):
			require.Eventually(h, func() bool { return strings.HasPrefix(h.state(oldUnit), "deactivating") }, 10*time.Second, 10*time.Millisecond)
			require.NoError(h, cmd.Process.Signal(sig))
		case lines.Text() == "start "+oldUnit:
			require.NoError(h, os.Remove(hold))
		}
	}
	_ = cmd.Wait() // its status is what counts
	_ = os.Remove(hold)
	return cmd.ProcessState.ExitCode()
}
