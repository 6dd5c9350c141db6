//go:build root

// Package net measures the data plane: every way of carrying packets side by side, in one run on one machine, in processes and
// network namespaces of their own. It owns no claim but the table that it writes; a timing never fails it, a path that carries
// nothing does. `make bench-net` runs it.
package net

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Addresses: of the cable between client and node, of the one behind the node, and inside the tunnel.
const (
	clientOut, nodeOut     = "198.51.100.2", "198.51.100.1"
	nodeBehind, targetAddr = "192.0.2.1", "192.0.2.2"
	nodeIn, clientIn       = "10.9.0.1", "10.9.0.2"
	port                   = 51820
	mtu                    = 1420
)

// lab is a client, a node and a target in namespaces of their own: client — node — target.
type lab struct {
	t    *testing.T
	keys map[string]wgtypes.Key
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, keys: make(map[string]wgtypes.Key)}
	for _, name := range []string{"client", "node", "target"} {
		l.run("ip", "netns", "add", name)
		l.run("ip", "-n", name, "link", "set", "lo", "up")
		k, err := wgtypes.GeneratePrivateKey()
		require.NoError(t, err)
		l.keys[name] = k
	}
	cable := func(a, aLink, aAddr, b, bLink, bAddr string) {
		l.run("ip", "-n", a, "link", "add", aLink, "type", "veth", "peer", "name", bLink, "netns", b)
		for _, end := range [][3]string{{a, aLink, aAddr}, {b, bLink, bAddr}} {
			l.run("ip", "-n", end[0], "addr", "add", end[2]+"/24", "dev", end[1])
			l.run("ip", "-n", end[0], "link", "set", end[1], "up")
		}
	}
	cable("client", "eth0", clientOut, "node", "eth0", nodeOut)
	cable("node", "eth1", nodeBehind, "target", "eth0", targetAddr)
	// The TUN path: the kernel of the node forwards and translates.
	l.in("node", "sh", "-euc", `echo 1 >/proc/sys/net/ipv4/ip_forward
		nft add table ip nat; nft 'add chain ip nat post { type nat hook postrouting priority 100; }'
		nft add rule ip nat post oifname eth1 masquerade`)
	return l
}

func (l *lab) run(args ...string) string {
	l.t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(l.t, err, "%s: %s", args, out)
	return string(out)
}

func (l *lab) in(ns string, args ...string) string {
	l.t.Helper()
	return l.run(append([]string{"ip", "netns", "exec", ns}, args...)...)
}

// process is something that runs in a namespace; its processor time counts.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (l *lab) start(ns string, env []string, args ...string) *process {
	l.t.Helper()
	p := &process{t: l.t, cmd: exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = os.Stderr
	var err error
	p.in, err = p.cmd.StdinPipe()
	require.NoError(l.t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(l.t, err)
	p.out = bufio.NewReader(out)
	require.NoError(l.t, p.cmd.Start())
	l.t.Cleanup(p.stop)
	return p
}

// link is the name of the interface in a namespace: those of all namespaces share the folder of their sockets.
func link(ns string) string { return "wg-" + ns }

// stop ends it. A second call does nothing.
func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // by the signal
}

// cpu is the processor time that the process has used, user and system.
func (p *process) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	const tick = time.Second / 100 // USER_HZ
	var sum time.Duration
	for _, i := range []int{11, 12} { // utime, stime
		n, err := strconv.ParseInt(f[i], 10, 64)
		require.NoError(p.t, err)
		sum += time.Duration(n) * tick
	}
	return sum
}

// role starts this test binary as an end of a measurement.
func (l *lab) role(ns string, r role) *process {
	l.t.Helper()
	b, err := json.Marshal(r)
	require.NoError(l.t, err)
	p := l.start(ns, []string{roleVariable + "=" + string(b)}, os.Args[0])
	require.Equal(l.t, "ready", p.ask(""))
	return p
}

// ask sends a command and returns the answer's line; "" only waits for one.
func (p *process) ask(command string) string {
	p.t.Helper()
	if command != "" {
		_, err := io.WriteString(p.in, command+"\n")
		require.NoError(p.t, err)
	}
	line := make(chan string, 1)
	go func() {
		s, _ := p.out.ReadString('\n')
		line <- strings.TrimSpace(s)
	}()
	select {
	case s := <-line:
		return s
	case <-time.After(30 * time.Second):
		require.Fail(p.t, "no answer", "to %q", command)
		return ""
	}
}

// plain is the wireguard-go binary with a TUN interface, configured by wg(8) and ip(8).
func (l *lab) plain(ns string) *process {
	l.t.Helper()
	p := l.tryPlain(ns)
	for tries := 0; p == nil; tries++ {
		require.Less(l.t, tries, 5, "wireguard-go does not come up")
		p = l.tryPlain(ns)
	}
	r := l.wireguard(ns)
	conf := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = %d\n[Peer]\nPublicKey = %s\nAllowedIPs = 0.0.0.0/0\nEndpoint = %s\n",
		l.keys[ns], port, r.peer(), r.Endpoint)
	l.in(ns, "bash", "-euc", `wg setconf "$1" <(printf %s "$2")`, "bash", link(ns), conf)
	l.in(ns, "ip", "addr", "add", r.Address+"/24", "dev", link(ns))
	l.in(ns, "ip", "link", "set", link(ns), "mtu", strconv.Itoa(mtu), "up")
	l.routes(ns)
	return p
}

// tryPlain starts wireguard-go; nil: it did not come up.
func (l *lab) tryPlain(ns string) *process {
	// The interface of a process that was killed may stay for a moment.
	within(10*time.Second, func() bool { return exec.Command("ip", "-n", ns, "link", "show", link(ns)).Run() != nil })
	p := l.start(ns, []string{"WG_PROCESS_FOREGROUND=1"}, os.Getenv("WGFLEET_BENCH_PLAIN"), "-f", link(ns))
	go func() { _, _ = io.Copy(os.Stderr, p.out) }() // its errors; it ends with the process
	if within(5*time.Second, func() bool { return exec.Command("ip", "netns", "exec", ns, "wg", "show", link(ns)).Run() == nil }) {
		return p
	}
	p.stop()
	return nil
}

// within waits for something of the system that tells nobody.
func within(d time.Duration, is func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if is() {
			return true
		}
	}
	return false
}

// routes leads what is behind the node into the client's tunnel.
func (l *lab) routes(ns string) {
	if ns == "client" {
		l.in(ns, "ip", "route", "replace", "192.0.2.0/24", "dev", link(ns))
	}
}

// wireguard is the role of an end of the tunnel.
func (l *lab) wireguard(ns string) role {
	r := role{Address: nodeIn, Endpoint: fmt.Sprintf("%s:%d", clientOut, port)}
	other := "client"
	if ns == "client" {
		r, other = role{Address: clientIn, Endpoint: fmt.Sprintf("%s:%d", nodeOut, port)}, "node"
	}
	private, public := l.keys[ns], l.keys[other].PublicKey()
	r.PrivateKey, r.PeerKey = hex.EncodeToString(private[:]), hex.EncodeToString(public[:])
	return r
}

func (r role) peer() wgtypes.Key {
	var k wgtypes.Key
	b, _ := hex.DecodeString(r.PeerKey) // made here
	copy(k[:], b)
	return k
}
