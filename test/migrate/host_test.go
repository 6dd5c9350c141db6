//go:build root

package migrate

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
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

// peers of the interfaces.
var peers = map[string]int{"wg0": 50, "wg1": 5, "wg2": 5}

var (
	nodeAddr   = netip.MustParseAddr("10.80.0.1")
	clientAddr = netip.MustParseAddr("10.80.0.2")
)

// host is what the test knows of the host.
type host struct {
	*testing.T
	kernel  bool     // its WireGuard is the kernel's, not that of other processes
	secrets []string // none of these may be printed
	node    wgtypes.Key
	client  keys
}

// keys of the first peer of wg0.
type keys struct{ private, preshared engine.SecretKey }

// in is the same host in another test.
func (h host) in(t *testing.T) host {
	h.T = t
	return h
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

// newHost runs the old agent, and wg0 beside it.
func newHost(t *testing.T) host {
	t.Helper()
	comm, err := os.ReadFile("/proc/1/comm")
	require.NoError(t, err)
	require.Equal(t, "systemd\n", string(comm), "this test changes the host: run make test-migrate")
	h := host{T: t, secrets: []string{secret}}
	switch kind := os.Getenv("WGFLEET_TEST_WIREGUARD"); kind {
	case "kernel":
		h.kernel = true
	case "userspace":
	default:
		t.Fatalf("WGFLEET_TEST_WIREGUARD is %q: run make test-migrate", kind)
	}
	quickEnv := "[Service]\nEnvironment=WG_QUICK_USERSPACE_IMPLEMENTATION=/opt/test/wireguard-go\n"
	h.write("/etc/systemd/system/wg-quick@.service.d/test.conf", quickEnv, 0o644)
	for i := range len(peers) {
		h.quick(i)
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

// quick writes the file of an interface.
func (h *host) quick(n int) {
	h.Helper()
	name := fmt.Sprintf("wg%d", n)
	private := h.key()
	text := fmt.Sprintf("# %s, as wg-quick brings it up\n[Interface]\nPrivateKey = %s\nAddress = 10.%d.0.1/24\nListenPort = %d\n", name, private.RevealText(), 80+n, 51820+n)
	for i := range peers[name] {
		peer := keys{private: h.key(), preshared: h.key()}
		if n == 0 && i == 0 {
			h.node, h.client = private.PublicKey(), peer
		}
		text += fmt.Sprintf("\n# %d\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.%d.0.%d/32\nPersistentKeepalive = %d\n",
			i, peer.private.PublicKey(), peer.preshared.RevealText(), 80+n, 2+i, 20+i)
	}
	h.write("/etc/wireguard/"+name+".conf", text, 0o600)
}

// key makes one that may not be printed.
func (h *host) key() engine.SecretKey {
	h.Helper()
	k, err := engine.GeneratePrivateKey()
	require.NoError(h, err)
	h.secrets = append(h.secrets, k.RevealText())
	return k
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
		seen := h.observe(name)
		snap, err := c.Dump(h.Context(), name, client.Query{})
		require.NoError(h, err)
		require.Len(h, snap.Peers, peers[name])
		for i, p := range snap.Peers {
			want := seen.Peers[i]
			require.Equal(h, seen.Stats[want.PublicKey].Endpoint, p.Stats.Endpoint)
			want.Endpoint = p.Endpoint // the dump has where a peer is heard from, not where it is called
			require.Equal(h, want, p.Peer)
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
	if h.kernel {
		require.Len(h, out, 2, "the kernel's, without another process")
	} else {
		require.Len(h, out, 4, "each with the process behind it")
	}
	return strings.Join(out, ", ")
}

func (h host) mode(path string) os.FileMode {
	h.Helper()
	info, err := os.Stat(path)
	require.NoError(h, err)
	return info.Mode().Perm()
}
