//go:build root

// Package quickstart follows docs/quickstart.md and docs/migration.md, each command as it is written there, on a server that
// systemd runs and a client of its own network, with wg-quick(8) and wireguard-go of others. It needs a host of its own:
// `make test-quickstart` makes one for each test.
package quickstart

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	program   = "/opt/wgfleet/wgfleet"
	wireguard = "WG_QUICK_USERSPACE_IMPLEMENTATION=/opt/test/wireguard-go" // of all that is not wgfleet
	name      = "vpn.example.com"
)

// world is a server, which is this host, a client of its own network, and the Internet that both are on:
//
//	client 192.0.2.2 — 192.0.2.1 server 198.51.100.2 — 198.51.100.1 Internet 1.1.1.1
//
// The Internet knows no way to addresses inside a tunnel.
type world struct {
	*testing.T
	shells map[string]*shell
}

func newWorld(t *testing.T) world {
	t.Helper()
	comm, err := os.ReadFile("/proc/1/comm")
	require.NoError(t, err)
	require.Equal(t, "systemd\n", string(comm), "this test changes the host: run make test-quickstart")
	w := world{t, map[string]*shell{}}
	for _, host := range []string{"server", "client"} {
		require.NoError(t, os.MkdirAll("/root/"+host, 0o700))
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "NO_COLOR=1"}
	w.shells["server"] = newShell(t, env, "bash", "-o", "pipefail")
	w.do("server", `
		systemctl mask network-online.target # there is no network to wait for
		ip netns add client && ip netns add internet
		ip link add eth0 type veth peer name eth0 netns client
		ip link add eth1 type veth peer name eth0 netns internet
		ip addr add 192.0.2.1/24 dev eth0 && ip link set eth0 up
		ip addr add 198.51.100.2/24 dev eth1 && ip link set eth1 up
		ip route add default via 198.51.100.1
		ip -n client addr add 192.0.2.2/24 dev eth0 && ip -n client link set eth0 up && ip -n client link set lo up
		ip -n client route add default via 192.0.2.1
		ip -n internet addr add 198.51.100.1/24 dev eth0 && ip -n internet link set eth0 up && ip -n internet link set lo up
		ip -n internet addr add 1.1.1.1/32 dev lo
		echo 192.0.2.1 `+name+` >>/etc/hosts
		mkdir -p /etc/wireguard /run/wireguard
		cd /root/server`)
	w.shells["client"] = newShell(t, append(env, wireguard), "ip", "netns", "exec", "client", "unshare", "--mount", "bash", "-o", "pipefail")
	w.do("client", "mount -t tmpfs none /etc/wireguard; mount -t tmpfs none /run/wireguard; umask 077; cd /root/client")
	return w
}

// do runs what the test needs and no document says, and wants it to end well.
func (w world) do(host, text string) string {
	w.Helper()
	printed, status, err := w.shells[host].run("set -e; " + text + "\nset +e")
	require.NoError(w, err, printed)
	require.Equal(w, "0", status, "%s\n%s", text, printed)
	return strings.TrimSpace(printed)
}

// follow does what a section says. Between two commands somebody brings the client the files that the server wrote for it.
func (w world) follow(document, heading string) {
	w.Helper()
	for _, c := range commands(w.T, document, heading) {
		w.Logf("%s:%d: %s$ %s", document, c.line, c.host, c.text)
		require.Contains(w, w.shells, c.host, "%s:%d: there is no such host", document, c.line)
		printed, status, err := w.shells[c.host].run(c.text)
		require.NoError(w, err, printed)
		require.Equal(w, "0", status, "%s:%d: %s\nprinted:\n%s", document, c.line, c.text, printed)
		if c.output != nil {
			require.True(w, shows(c.output, printed), "%s:%d: %s\nprinted:\n%s\nthe document shows:\n%s", document, c.line, c.text,
				printed, strings.Join(c.output, "\n"))
		}
		w.bring()
	}
}

func (w world) bring() {
	w.Helper()
	files, err := filepath.Glob("/root/server/*.conf")
	require.NoError(w, err)
	for _, path := range files {
		text, err := os.ReadFile(path)
		require.NoError(w, err)
		require.NoError(w, os.WriteFile("/root/client/"+filepath.Base(path), text, 0o600))
	}
}

// build is what `make build` leaves.
func (w world) build() {
	w.Helper()
	w.do("server", fmt.Sprintf("mkdir bin && ln -s %s bin/wgfleet", program))
}
