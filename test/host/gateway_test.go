//go:build root

package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// Addresses of the network behind the gateway.
const (
	behindA4, behindA6   = "192.0.2.1", "2001:db8:9::1"
	targetIP4, targetIP6 = "192.0.2.2", "2001:db8:9::2"
	nobody4              = "192.0.2.99"
)

// caged runs a command as a container without privileges would: as a user of no account, without a capability and
// without a way to get one, on a root file system that cannot be written to but for what is below /mnt.
const caged = `
mount -t tmpfs -o size=64m,uid=65532,gid=65532,mode=0700 none /mnt
install -d -o 65532 -g 65532 -m 0700 /mnt/conf
install -o 65532 -g 65532 -m 0600 /etc/wireguard/wg0.conf /mnt/conf/
mount -o remount,bind,ro /
mount -t tmpfs -o ro none /dev
exec setpriv --reuid 65532 --regid 65532 --clear-groups --inh-caps=-all --ambient-caps=-all --bounding-set=-all --no-new-privs "$@"`

// newGateway is a lab whose a has no privileges and a network of its own behind it, to which b has no other way. The link
// between a and b carries packets of mtu bytes.
func newGateway(t *testing.T, mtu int, directives string) (*lab, *host, *node) {
	t.Helper()
	l := newLab(t, mtu)
	target := newHost(t, "target")
	connect(l.a, "lan", target, "eth0", 1500)
	l.a.sh(`
		ip addr add 192.0.2.1/24 dev lan; ip addr add 2001:db8:9::1/64 dev lan
		echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range # as containers have it`)
	target.sh(`ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8:9::2/64 dev eth0`)
	l.a.write("/etc/resolv.conf", "nameserver "+targetIP4+"\n")
	l.configure(outA4+":51820", "", directives)
	conf := l.b.run("cat", "/etc/wireguard/wg0.conf")
	l.b.write("/etc/wireguard/wg0.conf", strings.Replace(conf, "AllowedIPs = ", "AllowedIPs = 192.0.2.0/24, 2001:db8:9::/64, ", 1))
	n := l.a.cage("WGFLEET_CONF_DIR=/mnt/conf", "WGFLEET_DATA_DIR=/mnt/data")
	return l, target, n
}

// cage serves without any privilege; nothing that the agent could do is left to it but sockets.
func (h *host) cage(env ...string) *node {
	h.t.Helper()
	n := h.program([]string{"unshare", "--mount", "sh", "-euc", caged, "sh", wgfleet, "serve"}, env...)
	n.ready()
	require.Equal(h.t, "65532\t65532\t65532\t65532", n.status("Uid"))
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		require.Equal(h.t, "0000000000000000", n.status(set), set)
	}
	require.Equal(h.t, "1", n.status("NoNewPrivs"))
	require.Contains(h.t, n.log(), `"backend":"netstack"`)
	return n
}

// TestUnprivilegedGateway: a real client reaches, through a node that may do nothing on its host, what that host reaches.
func TestUnprivilegedGateway(t *testing.T) {
	t.Parallel()
	l, target, n := newGateway(t, 1500, "# wgfleet: resolver\n# wgfleet: publish tcp :8443 "+inB4+":80\n")
	l.b.quick(newest, "up", "wg0")

	l.b.reaches(inA4, inA6)
	l.b.reaches(targetIP4, targetIP6)
	sum := target.offer()
	l.b.fetches(sum, targetIP4, "["+targetIP6+"]")
	l.b.measures(target, targetIP4)

	t.Run("what is not there", func(t *testing.T) {
		for address, want := range map[string]error{
			targetIP4 + ":81":         unix.ECONNREFUSED,
			"[" + targetIP6 + "]:81":  unix.ECONNREFUSED,
			nobody4 + ":80":           unix.EHOSTUNREACH,
			behindA4 + ":8080":        unix.EHOSTUNREACH, // the agent itself: prohibited
			"[" + behindA6 + "]:8080": unix.EACCES,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), reachTimeout)
			_, err := l.b.dial(ctx, "tcp", address)
			cancel()
			require.ErrorIs(t, err, want, address)
		}
	})
	t.Run("names", func(t *testing.T) {
		names(t, target)
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return l.b.dial(ctx, network, inA4+":53")
		}}
		got, err := r.LookupNetIP(t.Context(), "ip4", "target.example.test.")
		require.NoError(t, err)
		require.Equal(t, []netip.Addr{netip.MustParseAddr(targetIP4)}, got)
	})
	t.Run("a published port", func(t *testing.T) {
		target.fetches(l.b.offer(), behindA4+":8443")
	})
	t.Run("a gigabyte", func(t *testing.T) { gigabyte(t, target, l.b) })
	t.Run("flows are told", func(t *testing.T) {
		var flows struct {
			Peers []struct {
				Opened  int
				RxBytes int64 `json:"rx_bytes"`
				Refused map[string]int
			}
		}
		a := n.do(http.MethodGet, "/v1/wg/wg0/flows", nil)
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.NoError(t, json.Unmarshal([]byte(a.body), &flows))
		require.Len(t, flows.Peers, 1)
		require.Greater(t, flows.Peers[0].RxBytes, int64(1<<30))
		require.Positive(t, flows.Peers[0].Refused["own_port"])
	})
}

// TestGatewayOnNarrowLinks: whatever the underlay carries, what is behind the gateway comes whole.
func TestGatewayOnNarrowLinks(t *testing.T) {
	for _, mtu := range []int{1280, 1400} {
		t.Run(strconv.Itoa(mtu), func(t *testing.T) {
			t.Parallel()
			l, target, _ := newGateway(t, mtu, "")
			l.b.quick(newest, "up", "wg0")
			l.b.reaches(targetIP4, targetIP6)
			l.b.fetches(target.offer(), targetIP4, "["+targetIP6+"]")
		})
	}
}

// names answers DNS on a host.
func names(t *testing.T, h *host) {
	t.Helper()
	var c net.PacketConn
	require.NoError(t, h.inside(func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", targetIP4+":53")
		return err
	}))
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			m.Response, m.Additionals = true, nil
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(targetIP4).As4()},
			}}
			if out, err := m.Pack(); err == nil {
				c.WriteTo(out, from)
			}
		}
	}()
}

// gigabyte moves one over HTTP and compares.
func gigabyte(t *testing.T, from, to *host) {
	t.Helper()
	const size = 1 << 30
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{7}), size) }
	server := &http.Server{
		ReadHeaderTimeout: commandTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(size))
			io.Copy(w, source())
		}),
	}
	l := from.listen(targetIP4 + ":8000")
	go server.Serve(l) // ends with Close
	t.Cleanup(func() { server.Close() })
	want := sha256.New()
	_, err := io.Copy(want, source())
	require.NoError(t, err)
	begin := time.Now()
	out := to.run("bash", "-euc", "curl --silent --show-error --max-time 55 http://"+targetIP4+":8000/ | sha256sum")
	require.Equal(t, hex.EncodeToString(want.Sum(nil)), strings.Fields(out)[0])
	t.Logf("1 GiB in %s", time.Since(begin).Round(time.Millisecond))
}

// status reads a line of /proc/PID/status of the process.
func (n *node) status(name string) string {
	n.host.t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.cmd.Process.Pid), "status"))
	require.NoError(n.host.t, err)
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, name+":"); is {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
