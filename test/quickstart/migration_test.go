//go:build root

package quickstart

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

const migration = "docs/migration.md"

// peer is a client of the server that there is before wgfleet.
type peer struct {
	name    string
	key     engine.SecretKey
	psk     engine.SecretKey
	address string
}

func newPeer(t *testing.T, name, address string) peer {
	t.Helper()
	key, err := engine.GeneratePrivateKey()
	require.NoError(t, err)
	psk, err := engine.GeneratePrivateKey()
	require.NoError(t, err)
	return peer{name: name, key: key, psk: psk, address: address}
}

func (p peer) section() string {
	return fmt.Sprintf("[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s/32\n", p.key.PublicKey(), p.psk.RevealText(), p.address)
}

func (w world) write(path, text string) {
	w.Helper()
	require.NoError(w, os.WriteFile(path, []byte(text), 0o600))
}

// server is the old server's identity.
func (w world) server() engine.SecretKey {
	w.Helper()
	key, err := engine.GeneratePrivateKey()
	require.NoError(w, err)
	w.do("server", `mkdir -p /etc/systemd/system/wg-quick@.service.d
		printf '[Service]\nEnvironment=`+wireguard+`\n' >/etc/systemd/system/wg-quick@.service.d/test.conf`)
	return key
}

// connect brings a client up, by a file that the old server handed out, and waits for the first answer.
func (w world) connect(server engine.SecretKey, p peer) {
	w.Helper()
	w.write("/root/client/old.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s/32\n\n[Peer]\nPublicKey = %s\nPresharedKey = %s\n"+
		"AllowedIPs = 10.8.0.0/24\nEndpoint = %s:51820\nPersistentKeepalive = 5\n", p.key.RevealText(), p.address, server.PublicKey(), p.psk.RevealText(), name))
	w.do("client", "wg-quick up ./old.conf; ping -c 1 -W 5 10.8.0.1")
}

// session is when the client last shook hands, and what the server's device is: the same for as long as a session lives.
func (w world) session() string {
	w.Helper()
	return w.do("client", "wg show old latest-handshakes") + " " + w.do("server", "cat /sys/class/net/wg0/ifindex")
}

// pinging asks through the tunnel 20 times a second until the function that is returned ends it, which tells the longest time
// without an answer.
func (w world) pinging() func() time.Duration {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "ip", "netns", "exec", "client", "ping", "-D", "-n", "-i", "0.05", "10.8.0.1")
	out, err := cmd.StdoutPipe()
	require.NoError(w, err)
	require.NoError(w, cmd.Start())
	ended := make(chan time.Duration, 1)
	go func() {
		var last, longest float64
		for lines := bufio.NewScanner(out); lines.Scan(); {
			stamp, rest, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "["), "] ")
			at, err := strconv.ParseFloat(stamp, 64) // seconds
			if err != nil || !strings.Contains(rest, "bytes from") {
				continue
			}
			if last != 0 {
				longest = max(longest, at-last)
			}
			last = at
		}
		ended <- time.Duration(longest * float64(time.Second))
	}()
	return func() time.Duration {
		w.Helper()
		w.do("client", "timeout 30 sh -c 'until ping -c 1 -W 1 10.8.0.1; do :; done'") // it is connected at the end
		require.NoError(w, cmd.Process.Signal(os.Interrupt))
		longest := <-ended
		require.NoError(w, cmd.Wait(), "no answer at all")
		w.Logf("the longest time without an answer: %v", longest)
		return longest
	}
}

// known wants the panel to know the peers by these names.
func (w world) known(peers ...peer) {
	w.Helper()
	list := w.do("server", `wgfleet peer list "$NODE"`)
	for _, p := range peers {
		require.Regexp(w, `(?m)^`+regexp.QuoteMeta(p.name)+` .*`+p.address+`/32`, list)
	}
}

// noPause is what an answer may be late on a machine that is busy: who must shake hands again takes 15 s.
const noPause = 2 * time.Second

func TestFromWgQuick(t *testing.T) {
	w := newWorld(t)
	w.build()
	server, a, b := w.server(), newPeer(t, "laptop", "10.8.0.2"), newPeer(t, "phone", "10.8.0.3")
	file := fmt.Sprintf("# mine\n[Interface]\nPrivateKey = %s\nAddress = 10.8.0.1/24\nListenPort = 51820\nPostUp = true %%i\n\n%s\n# the phone\n%s",
		server.RevealText(), a.section(), b.section())
	w.write("/etc/wireguard/wg0.conf", file)
	w.write("/etc/wireguard/wg1.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.9.0.1/24\nListenPort = 51821\n\n%s", w.server().RevealText(),
		newPeer(t, "tablet", "10.9.0.2").section()))
	w.do("server", "systemctl enable --now wg-quick@wg0 wg-quick@wg1")
	w.connect(server, a)
	before, end := w.session(), w.pinging()
	w.follow(migration, "## From wg-quick alone")
	require.Less(t, end(), noPause)
	require.Equal(t, before, w.session(), "the session goes on")
	now, err := os.ReadFile("/etc/wireguard/wg0.conf")
	require.NoError(t, err)
	require.Equal(t, file, string(now))
}

func TestFromWGDashboard(t *testing.T) {
	w := newWorld(t)
	w.build()
	server, a, b, restricted := w.server(), newPeer(t, "Ada's laptop", "10.8.0.2"), newPeer(t, "phone", "10.8.0.3"), newPeer(t, "gone", "10.8.0.4")
	w.write("/etc/wireguard/wg0.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = 10.8.0.1/24\nListenPort = 51820\nPreUp = \nPreDown = \nPostUp = \n"+
		"PostDown = \nSaveConfig = true\n\n%s\n%s", server.RevealText(), a.section(), b.section()))
	// WGDashboard has the panel's port, and a table for each configuration.
	w.do("server", `mkdir -p /opt/WGDashboard/src/db
		sqlite3 /opt/WGDashboard/src/db/wgdashboard.db 'CREATE TABLE wg0 (id VARCHAR(255) PRIMARY KEY, private_key VARCHAR(255), name TEXT);
			CREATE TABLE wg0_restrict_access (id VARCHAR(255) PRIMARY KEY, private_key VARCHAR(255), name TEXT)'
		printf '[Socket]\nListenStream=10086\nAccept=yes\n' >/etc/systemd/system/wg-dashboard.socket
		printf '[Unit]\nRequires=wg-dashboard.socket\n[Service]\nExecStart=sleep infinity\nRestart=always\n[Install]\nWantedBy=multi-user.target\n' >/etc/systemd/system/wg-dashboard.service
		printf '[Service]\nExecStart=cat\nStandardInput=socket\n' >/etc/systemd/system/wg-dashboard@.service
		printf '[Unit]\nPartOf=wg-dashboard.service\n' >>/etc/systemd/system/wg-dashboard.socket
		systemctl enable --now wg-dashboard wg-quick@wg0`)
	for table, peers := range map[string][]peer{"wg0": {a, b, {key: restricted.psk}}, "wg0_restrict_access": {restricted}} {
		for _, p := range peers {
			w.do("server", fmt.Sprintf(`sqlite3 /opt/WGDashboard/src/db/wgdashboard.db "INSERT INTO %s VALUES ('%s', '%s', '%s')"`,
				table, p.key.PublicKey(), p.key.RevealText(), strings.ReplaceAll(p.name, "'", "''")))
		}
	}
	w.connect(server, a)
	before, end := w.session(), w.pinging()
	w.follow(migration, "## From WGDashboard")
	require.Less(t, end(), noPause)
	require.Equal(t, before, w.session(), "the session goes on")
	w.known(a, b)
}

// TestFromWgEasy14 has the layout of version 14 and before.
func TestFromWgEasy14(t *testing.T) {
	e := newEasy(t)
	disabled := newPeer(t, "guest", "10.8.0.4")
	var clients []string
	for i, p := range []peer{e.a, e.b, disabled} {
		id := fmt.Sprintf("3b4b6f4e-0000-4000-8000-%012d", i)
		clients = append(clients, fmt.Sprintf(`"%s": {"id": "%s", "name": "%s", "address": "%s", "privateKey": "%s", "publicKey": "%s", "preSharedKey": "%s", "enabled": %t}`,
			id, id, p.name, p.address, p.key.RevealText(), p.key.PublicKey(), p.psk.RevealText(), p != disabled))
	}
	e.write("/root/easy/wg0.json", fmt.Sprintf(`{"server": {"privateKey": "%s", "publicKey": "%s", "address": "10.8.0.1"}, "clients": {%s}}`,
		e.key.RevealText(), e.key.PublicKey(), strings.Join(clients, ", ")))
	e.moves("Address = 10.8.0.1/24\nListenPort = 51820\n", func(p peer, i int) string {
		return fmt.Sprintf("\n\n# Client: %s (3b4b6f4e-0000-4000-8000-%012d)\n%s", p.name, i, p.section())
	})
	e.follow(migration, "### Disabled clients of version 14")
	e.known(e.a, e.b, disabled)
}

// TestFromWgEasy15 has the layout of version 15.
func TestFromWgEasy15(t *testing.T) {
	e := newEasy(t)
	e.moves("Address = 10.8.0.1/24, fdcc:ad94:bacf:61a4::cafe:1/112\nListenPort = 51820\nMTU = 1420\n", func(p peer, i int) string {
		section := strings.Replace(p.section(), "/32", fmt.Sprintf("/32, fdcc:ad94:bacf:61a4::cafe:%d/128", i+2), 1)
		return fmt.Sprintf("\n# Client: %s (%d)\n%s", p.name, i+1, section)
	})
}

// easy is a server that wg-easy runs. In docker's place is a program that knows that container, whose interface is on the
// host's network.
type easy struct {
	world
	key  engine.SecretKey
	a, b peer
}

func newEasy(t *testing.T) easy {
	t.Helper()
	w := newWorld(t)
	w.build()
	w.do("server", "mkdir /root/easy /root/inside")
	require.NoError(t, os.WriteFile("/usr/local/bin/docker", []byte(`#!/bin/bash -e
case "$1 $2" in
"cp wg-easy:/etc/wireguard/"*) cp "/root/easy/${2#wg-easy:/etc/wireguard/}" "$3" ;;
"stop wg-easy") wg-quick down /root/inside/wg0.conf ; echo wg-easy ;;
*) exit 1 ;;
esac
`), 0o755))
	return easy{w, w.server(), newPeer(t, "Ada's laptop (old)", "10.8.0.2"), newPeer(t, "phone", "10.8.0.3")}
}

const easyHooks = "PreUp = \nPostUp =  iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE; iptables -A INPUT -p udp -m udp --dport 51820 -j ACCEPT; " +
	"iptables -A FORWARD -i wg0 -j ACCEPT; iptables -A FORWARD -o wg0 -j ACCEPT; \nPreDown = \nPostDown = \n"

// moves follows the document for a server of this interface and these sections of clients.
func (e easy) moves(iface string, section func(p peer, i int) string) {
	e.Helper()
	text := fmt.Sprintf("# Note: Do not edit this file directly.\n# Your changes will be overwritten!\n\n# Server\n[Interface]\nPrivateKey = %s\n%s%s",
		e.key.RevealText(), iface, easyHooks)
	for i, p := range []peer{e.a, e.b} {
		text += section(p, i)
	}
	e.write("/root/easy/wg0.conf", text)
	e.write("/root/inside/wg0.conf", strings.Replace(text, easyHooks, "", 1)) // its iptables is the container's own
	e.do("server", wireguard+" wg-quick up /root/inside/wg0.conf")
	e.connect(e.key, e.a)
	end := e.pinging()
	e.follow(migration, "## From wg-easy")
	require.Less(e, end(), 25*time.Second) // 15 s without an answer, and then handshakes 5 s apart
	e.known(e.a, e.b)
	e.do("client", "wg set old peer "+e.key.PublicKey().String()+" allowed-ips 0.0.0.0/0; ip route add 1.1.1.1 dev old; ping -c 2 -W 5 1.1.1.1")
}
