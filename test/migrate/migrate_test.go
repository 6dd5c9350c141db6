//go:build root

package migrate

import (
	"bufio"
	"bytes"
	"encoding/json"
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
)

func TestThereAndBack(t *testing.T) {
	h := newHost(t)
	s := h.stream()
	h.settled()
	before, was := h.devices(), h.snapshot()
	step := func(name string, f func(h host)) {
		require.True(t, t.Run(name, func(t *testing.T) {
			h := h.in(t)
			f(h)
			require.Equal(t, before, h.devices(), "the interfaces are the ones that were there before")
		}))
	}
	// back is a step after which nothing of the host may differ.
	back := func(name string, f func(h host)) {
		step(name, func(h host) {
			f(h)
			h.old()
			h.unchanged(was)
		})
	}

	back("the plan", func(h host) {
		out := h.migrate(0, "--from", from)
		for _, want := range []string{
			"run by wgdashboard-agent.service (active, enabled)",
			"listens on 0.0.0.0 port 8080, log level DEBUG, requests are valid for 300 s",
			"wg-quick@wg0.service (active, enabled), /etc/wireguard/wg0.conf",
			"/etc/wireguard/wg1.conf holds a private key and is open to others (0644)",
			"Nothing was changed",
		} {
			require.Contains(h, out, want)
		}
		if h.kernel {
			require.Contains(h, out, "wg1       up, kernel, peers: 5,")
			require.Contains(h, out, "wg2       down, ")
		} else {
			require.Contains(h, out, "wg2 is down and stays so: WGFLEET_UP=wg0,wg1")
			require.Regexp(h, `wg1 is served by wireguard-go \(process \d+\), which the old agent started: it is left running when wgdashboard-agent.service stops`, out)
		}
		var plan struct{ Outcome string }
		require.NoError(h, json.Unmarshal([]byte(h.migrate(0, "--from", from, "--json")), &plan))
		require.Equal(h, "planned", plan.Outcome)
	})
	step("apply", func(h host) {
		session := h.session()
		out := h.migrate(0, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet runs this host now")
		h.ours()
		s.advance(h)
		h.same(session)
		require.Equal(h, os.FileMode(0o600), h.mode(envFile))
		require.Equal(h, os.FileMode(0o700), h.mode(filepath.Dir(envFile)))
		require.Equal(h, os.FileMode(0o600), h.mode(record))
		kept, err := os.ReadFile(record)
		require.NoError(h, err)
		h.silent(kept)
		if h.kernel { // what follows is not the kernel's affair, and each program costs seconds where it is emulated
			return
		}
		require.Contains(h, h.migrate(0, "--apply"), "this host was moved to wgfleet on ")
		h.ours()
		h.sh("systemctl", "restart", "wgfleet.service")
		require.Eventually(h, func() bool { return exec.CommandContext(h.Context(), wgfleet, "health").Run() == nil }, 10*time.Second, 20*time.Millisecond)
		h.ours()
	})
	step("every endpoint", func(h host) {
		h.answers()
		h.ours()
	})
	back("undo", func(h host) {
		session := h.session()
		require.Contains(h, h.migrate(0, "--undo"), "The agent in "+from+" runs this host again.")
		h.old()
		s.advance(h)
		h.same(session)
		s.end(h)
		if h.kernel {
			return
		}
		require.Contains(h, h.migrate(0, "--undo"), "There is no migration to undo.")
	})
	step("as the document has it", func(h host) {
		states := []func(out string){
			func(out string) { require.Contains(h, out, "Nothing was changed"); h.old() },
			func(string) { h.ours() },
			func(string) { h.old() },
		}
		h.documented(func(command, out string) {
			require.NotEmpty(h, states, command)
			states[0](out)
			states = states[1:]
		})
		require.Empty(h, states)
	})
	back("ours does not start", func(h host) {
		require.NoError(h, os.MkdirAll("/var/lib/wgfleet", 0o700))
		lock, err := os.OpenFile("/var/lib/wgfleet/lock", os.O_CREATE|os.O_RDWR, 0o600)
		require.NoError(h, err)
		defer lock.Close()
		require.NoError(h, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
		was := h.snapshot()
		out := h.migrate(1, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet: wgfleet.service does not answer as it should: it does not start: `journalctl -u wgfleet` says why; this host is as it was before")
		h.unchanged(was)
		require.NoError(h, os.RemoveAll("/var/lib/wgfleet"))
	})
	back("a port of somebody else's", func(h host) {
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
	})
	back("another secret than the panel's", func(h host) {
		env, err := os.ReadFile(from + "/.env")
		require.NoError(h, err)
		h.write(from+"/.env", "WG_AGENT_SECRET=0123456789abcdef0123456789abcdef\n", 0o600)
		out := h.migrate(1, "--from", from, "--apply")
		require.Contains(h, out, "wgfleet: the running agent does not take the secret that its files say")
		h.write(from+"/.env", string(env), 0o600)
	})
	back("interrupted", func(h host) {
		require.Equal(h, 130, h.stopMidway(syscall.SIGINT))
	})
	back("killed", func(h host) {
		require.Equal(h, -1, h.stopMidway(syscall.SIGKILL))
		require.Contains(h, h.migrate(1, "--apply"), "was cut short: go back with `wgfleet migrate --undo`")
		h.migrate(0, "--undo")
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
