//go:build root

// Package systemd installs wgfleet on a host that systemd runs, with the real command, and holds the units to what they
// promise. It needs a host of its own: `make test-systemd` makes one.
package systemd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
)

const (
	v1      = "/opt/wgfleet/wgfleet"
	v2      = "/opt/wgfleet/v2/wgfleet"
	agentAt = "http://127.0.0.1:8080"
	panelAt = "http://127.0.0.1:10086"

	echoPort = 7777
)

var (
	nodeAddr   = netip.MustParseAddr("10.80.0.1")
	clientAddr = netip.MustParseAddr("10.80.0.2")
)

// host is what the test knows of the host.
type host struct {
	*testing.T
	node   engine.SecretKey
	client engine.SecretKey
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
}

func newHost(t *testing.T) host {
	t.Helper()
	comm, err := os.ReadFile("/proc/1/comm")
	require.NoError(t, err)
	require.Equal(t, "systemd\n", string(comm), "this test changes the host: run make test-systemd")
	h := host{T: t}
	h.node, err = engine.GeneratePrivateKey()
	require.NoError(t, err)
	h.client, err = engine.GeneratePrivateKey()
	require.NoError(t, err)
	h.sh("systemctl", "mask", "network-online.target") // there is no network to wait for
	return h
}

// quick is the node's file; more is for [Interface].
func (h host) quick(more string) string {
	return fmt.Sprintf("[Interface]\nPrivateKey = %s\nAddress = %s/24\nListenPort = 51820\n%s\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\n",
		h.node.Reveal(), nodeAddr, more, h.client.PublicKey(), clientAddr)
}

// status is one line of the main process's /proc status.
func (h host) status(field string) string {
	h.Helper()
	text, err := os.ReadFile("/proc/" + h.pid() + "/status")
	require.NoError(h, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	h.Fatalf("no %s in /proc", field)
	return ""
}

func (h host) pid() string { return h.property("MainPID") }

func (h host) property(name string) string {
	h.Helper()
	return h.sh("systemctl", "show", "--value", "-p", name, "wgfleet.service")
}

func (h host) health() string {
	h.Helper()
	text, err := get(h.Context(), agentAt+"/health")
	require.NoError(h, err)
	return text
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	t := &http.Transport{DisableKeepAlives: true}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// agent calls with the secret that install made.
func (h host) agent() *client.Client {
	h.Helper()
	secret, err := os.ReadFile("/etc/wgfleet/agent.secret")
	require.NoError(h, err)
	c, err := client.New(client.Options{BaseURL: agentAt, Secret: agent.Secret(strings.TrimSpace(string(secret)))})
	require.NoError(h, err)
	h.Cleanup(c.Close)
	return c
}

// peer is a WireGuard client of another make.
func (h host) peer() *mesh.Client {
	h.Helper()
	c, err := mesh.NewClient(mesh.Options{
		PrivateKey: h.client, Addresses: []netip.Addr{clientAddr}, Peer: h.node.PublicKey(),
		Endpoint: netip.MustParseAddrPort("127.0.0.1:51820"), AllowedIPs: []netip.Prefix{netip.PrefixFrom(nodeAddr, 24).Masked()},
		PersistentKeepalive: 25,
	})
	require.NoError(h, err)
	h.Cleanup(c.Close)
	return c
}

// echo answers datagrams on every address of the host.
func (h host) echo() {
	h.Helper()
	c, err := net.ListenPacket("udp", fmt.Sprintf(":%d", echoPort))
	require.NoError(h, err)
	h.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(b[:n], from) // the interface may be away
		}
	}()
}

// pings sends a datagram every few milliseconds, and tells the longest time without an answer.
type pings struct {
	conn  net.Conn
	heard chan struct{}
	stop  chan struct{}
	ended chan time.Duration
}

func (h host) pings(c *mesh.Client) *pings {
	h.Helper()
	conn, err := c.Net().DialUDPAddrPort(netip.AddrPort{}, netip.AddrPortFrom(nodeAddr, echoPort))
	require.NoError(h, err)
	p := &pings{conn: conn, heard: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan time.Duration, 1)}
	go func() {
		b := make([]byte, 1500)
		var longest time.Duration
		var last time.Time
		for {
			if _, err := conn.Read(b); err != nil {
				p.ended <- longest
				return
			}
			now := time.Now()
			if !last.IsZero() {
				longest = max(longest, now.Sub(last))
			}
			last = now
			select {
			case p.heard <- struct{}{}:
			default:
			}
		}
	}()
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				_, _ = conn.Write([]byte("ping"))
			}
		}
	}()
	p.wait(h)
	h.Cleanup(func() { conn.Close() })
	return p
}

// wait waits for an answer.
func (p *pings) wait(h host) {
	h.Helper()
	select {
	case <-p.heard:
	case <-time.After(20 * time.Second):
		h.Fatal("nothing came back through the tunnel")
	}
}

// end returns the longest gap, once there is traffic again.
func (p *pings) end(h host) time.Duration {
	h.Helper()
	for range 20 {
		p.wait(h)
	}
	close(p.stop)
	require.NoError(h, p.conn.Close())
	return <-p.ended
}
