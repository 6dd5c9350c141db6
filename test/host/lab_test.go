//go:build root

package host

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lab is two hosts on two networks with a router between them.
type lab struct {
	a, router, b *host
}

// Addresses of the lab: outside, and in the tunnel.
const (
	outA4, outA6 = "198.51.100.2", "2001:db8:1::2"
	outB4, outB6 = "203.0.113.2", "2001:db8:2::2"
	inA4, inA6   = "10.8.0.1", "fd42::1"
	inB4, inB6   = "10.8.0.2", "fd42::2"
)

// newLab makes the cable of a carry packets of mtu bytes; that of b carries 1,500.
func newLab(t *testing.T, mtu int) *lab {
	t.Helper()
	l := &lab{a: newHost(t, "a"), router: newHost(t, "router"), b: newHost(t, "b")}
	connect(l.a, "eth0", l.router, "to-a", mtu)
	connect(l.b, "eth0", l.router, "to-b", 1500)
	l.router.sh(`
		echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		ip addr add 198.51.100.1/24 dev to-a; ip addr add 2001:db8:1::1/64 dev to-a
		ip addr add 203.0.113.1/24 dev to-b; ip addr add 2001:db8:2::1/64 dev to-b`)
	l.a.sh(`
		ip addr add 198.51.100.2/24 dev eth0; ip addr add 2001:db8:1::2/64 dev eth0
		ip route add default via 198.51.100.1; ip route add default via 2001:db8:1::1`)
	l.b.sh(`
		ip addr add 203.0.113.2/24 dev eth0; ip addr add 2001:db8:2::2/64 dev eth0
		ip route add default via 203.0.113.1; ip route add default via 2001:db8:2::1`)
	return l
}

// key is a key pair.
type key struct{ private, public string }

func (h *host) newKey() key {
	h.t.Helper()
	private := strings.TrimSpace(h.run("wg", "genkey"))
	return key{private, strings.TrimSpace(h.sh("echo " + private + " | wg pubkey"))}
}

// configure writes the files of both ends. An empty endpoint is left out; more goes into the
// [Interface] of a.
func (l *lab) configure(endpointOfA, endpointOfB, more string) {
	l.a.t.Helper()
	a, b := l.a.newKey(), l.b.newKey()
	l.a.write("/etc/wireguard/wg0.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\nAddress = %s/24, %s/64\n%s\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32, %s/128\n%s",
		a.private, inA4, inA6, more, b.public, inB4, inB6, endpoint(endpointOfB)))
	l.b.write("/etc/wireguard/wg0.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\nAddress = %s/24, %s/64\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32, %s/128\n%s",
		b.private, inB4, inB6, a.public, inA4, inA6, endpoint(endpointOfA)))
}

func endpoint(s string) string {
	if s == "" {
		return ""
	}
	return "Endpoint = " + s + "\n"
}

// reachTimeout leaves room for the handshakes that WireGuard repeats after 5 s.
const reachTimeout = 30 * time.Second

// reaches waits until each of the addresses answers.
func (h *host) reaches(addresses ...string) {
	h.t.Helper()
	for _, address := range addresses {
		var out string
		require.Eventually(h.t, func() (ok bool) {
			var err error
			out, err = h.try("ping", "-n", "-c", "1", "-W", "1", address)
			return err == nil
		}, reachTimeout, 20*time.Millisecond, "%s does not reach %s", h.name, address)
		require.Contains(h.t, out, "1 received")
	}
}

// offer serves some megabytes on all addresses of the host and returns their hash.
func (h *host) offer() (sum string) {
	h.t.Helper()
	data := make([]byte, 8<<20)
	rand.Read(data) // never fails
	hash := sha256.Sum256(data)
	server := &http.Server{
		ReadHeaderTimeout: commandTimeout,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(data) }),
	}
	l := h.listen("[::]:80")
	go server.Serve(l) // ends with Close
	h.t.Cleanup(func() { server.Close() })
	return hex.EncodeToString(hash[:])
}

// fetches loads the file that is offered at each of these addresses.
func (h *host) fetches(sum string, addresses ...string) {
	h.t.Helper()
	for _, address := range addresses {
		out := h.run("bash", "-euc", `curl --globoff --silent --show-error --max-time 50 "http://$1/file" | sha256sum`, "curl", address)
		require.Equal(h.t, sum, strings.Fields(out)[0], "what came from %s", address)
	}
}

// measures runs iperf3 from h to an address of the other, in both directions.
func (h *host) measures(other *host, address string) {
	h.t.Helper()
	server := other.command(h.t.Context(), "iperf3", "--server")
	require.NoError(h.t, server.Start())
	defer func() {
		server.Process.Kill() // it serves for ever
		server.Wait()
	}()
	for _, direction := range [][]string{nil, {"--reverse"}} {
		var out string
		require.Eventually(h.t, func() bool { // the server may not listen yet
			out, _ = h.try(append([]string{"iperf3", "--json", "--time", "1", "--client", address}, direction...)...) // it succeeds in any case
			var result struct {
				End struct {
					Received struct{ Bytes float64 } `json:"sum_received"`
				}
			}
			return json.Unmarshal([]byte(out), &result) == nil && result.End.Received.Bytes > 0
		}, reachTimeout, 20*time.Millisecond, "iperf3 to %s", address)
	}
}

// peer is what wg(8) says of the only peer of wg0.
type peer struct {
	endpoint         string
	handshake        bool
	received, sent   bool
	allowedIPs       string
	keepalive, shown string
}

func (h *host) peer() peer {
	h.t.Helper()
	out := h.run("wg", "show", "wg0", "dump")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(h.t, lines, 2, out)
	f := strings.Split(lines[1], "\t")
	require.Len(h.t, f, 8, out)
	return peer{endpoint: f[2], allowedIPs: f[3], handshake: f[4] != "0", received: f[5] != "0", sent: f[6] != "0", keepalive: f[7], shown: out}
}
