//go:build root

package link

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// lab is a router with WireGuard's clients on one side and two other hosts on the other, each in a
// network namespace. The goroutine of the test is on the router. wg0 is a bridge there: it behaves
// as a WireGuard interface does, which delivers to several peers and passes none of their packets
// on by itself, since the clients have no route to each other but the router.
//
//	alice 10.50.0.2 fd50::2 ─┐      ┌─ eth0 192.0.2.1   2001:db8:1::1 ── world  192.0.2.2   2001:db8:1::2
//	                        wg0 router
//	bob   10.50.0.3 fd50::3 ─┘      └─ eth1 198.51.100.1 2001:db8:2::1 ─ office 198.51.100.2 2001:db8:2::2
//
// The office has routes back to the clients, the world has none, but by IPv6 to the office.
type lab struct {
	t                         *testing.T
	alice, bob, world, office *netHost
}

// netHost is a network namespace that a sleeping process holds.
type netHost struct {
	t     *testing.T
	netns string
}

const (
	world4, world6   = "192.0.2.2", "2001:db8:1::2"
	office4, office6 = "198.51.100.2", "2001:db8:2::2"
	bob4, bob6       = "10.50.0.3", "fd50::3"
	alice4, alice6   = "10.50.0.2", "fd50::2"
)

// ownNamespace moves the test into an empty network namespace, which ends with its goroutine.
func ownNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	require.NoError(t, unix.Unshare(unix.CLONE_NEWNET))
	run(t, "ip", "link", "set", "lo", "up")
}

func newNetHost(t *testing.T) *netHost {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	h := &netHost{t: t, netns: fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid)}
	h.run("ip link set lo up")
	return h
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// run runs lines of a shell on the host.
func (h *netHost) run(script string) {
	h.t.Helper()
	run(h.t, "nsenter", "--net="+h.netns, "sh", "-ec", script)
}

// pings reports whether there is an answer within the limit.
func (h *netHost) pings(address string, limit ...string) bool {
	ping := exec.Command("nsenter", append([]string{"--net=" + h.netns, "ping", "-n", "-c", "1", address}, limit...)...)
	return ping.Run() == nil
}

// reaches wants an answer from each address. A ping that can't be sent yet, since a link or an address is not up,
// is sent again.
func (h *netHost) reaches(addresses ...string) {
	h.t.Helper()
	for _, a := range addresses {
		require.Eventually(h.t, func() bool { return h.pings(a, "-w", "10") }, 30*time.Second, 100*time.Millisecond, "no answer from %s", a)
	}
}

func (h *netHost) doesNotReach(addresses ...string) {
	h.t.Helper()
	for _, a := range addresses {
		require.False(h.t, h.pings(a, "-W", "0.5"), "there is an answer from %s", a)
	}
}

// within runs f on the host. What f opens stays there.
func (h *netHost) within(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open(h.netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			_ = unix.Close(fd)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// seenAt connects by TCP to an address of another host, passes a line there and back, and returns
// the address that the other host saw.
func (h *netHost) seenAt(other *netHost, address string) string {
	h.t.Helper()
	var l net.Listener
	require.NoError(h.t, other.within(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		return err
	}))
	defer l.Close()
	seen := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 5)
		n, _ := conn.Read(buf)
		_, _ = conn.Write(buf[:n])
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		seen <- host
	}()
	var conn net.Conn
	require.NoError(h.t, h.within(func() (err error) {
		conn, err = net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
		return err
	}))
	defer conn.Close()
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := conn.Write([]byte("hello"))
	require.NoError(h.t, err)
	buf := make([]byte, 5)
	_, err = conn.Read(buf)
	require.NoError(h.t, err)
	require.Equal(h.t, "hello", string(buf))
	return <-seen
}

func newLab(t *testing.T) *lab {
	t.Helper()
	ownNamespace(t)
	l := &lab{t: t, alice: newNetHost(t), bob: newNetHost(t), world: newNetHost(t), office: newNetHost(t)}
	run(t, "sh", "-ec", "ip link add wg0 type bridge; ip addr add 10.50.0.1/24 dev wg0; ip addr add fd50::1/64 dev wg0 nodad; ip link set wg0 up")
	for _, c := range []struct {
		h      *netHost
		port   string
		v4, v6 string
	}{{l.alice, "alice", alice4, alice6}, {l.bob, "bob", bob4, bob6}} {
		l.wire(c.h, c.port)
		run(t, "ip", "link", "set", c.port, "master", "wg0")
		c.h.run("ip addr add " + c.v4 + "/32 dev eth0; ip addr add " + c.v6 + "/128 dev eth0 nodad" +
			"; ip route add 10.50.0.1 dev eth0; ip route add default via 10.50.0.1; ip route add fd50::1 dev eth0; ip route add default via fd50::1")
	}
	for _, c := range []struct {
		h              *netHost
		link           string
		here4, here6   string
		there4, there6 string
		back           bool
	}{
		{l.world, "eth0", "192.0.2.1", "2001:db8:1::1", world4, world6, false},
		{l.office, "eth1", "198.51.100.1", "2001:db8:2::1", office4, office6, true},
	} {
		l.wire(c.h, c.link)
		run(t, "sh", "-ec", "ip addr add "+c.here4+"/24 dev "+c.link+"; ip addr add "+c.here6+"/64 dev "+c.link+" nodad")
		c.h.run("ip addr add " + c.there4 + "/24 dev eth0; ip addr add " + c.there6 + "/64 dev eth0 nodad")
		if c.back {
			c.h.run("ip route add 10.50.0.0/24 via " + c.here4 + "; ip route add fd50::/64 via " + c.here6)
		}
	}
	l.world.run("ip route add 2001:db8:2::/64 via 2001:db8:1::1")
	l.office.run("ip route add 2001:db8:1::/64 via 2001:db8:2::1")
	for name, value := range map[string]string{
		forwardIPv4: "0", forwardIPv6: "0", "net/ipv4/conf/all/accept_redirects": "0", // a hardened host
		"net/ipv4/conf/eth1/forwarding": "1",
	} {
		require.NoError(t, writeSysctl(name, value))
	}
	return l
}

// wire connects a link of the router with eth0 of a host.
func (l *lab) wire(h *netHost, link string) {
	l.t.Helper()
	run(l.t, "ip", "link", "add", link, "type", "veth", "peer", "name", "peer0")
	run(l.t, "ip", "link", "set", "peer0", "netns", strings.Split(h.netns, "/")[2], "name", "eth0")
	run(l.t, "ip", "link", "set", link, "up")
	h.run("ip link set eth0 up")
}

// sysctls reads all that the kernel may change along with forwarding.
func sysctls(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, root := range []string{"net/ipv4", "net/ipv6"} {
		err := filepath.WalkDir(procSys+root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if data, err := os.ReadFile(path); err == nil && !strings.HasSuffix(path, "stable_secret") {
				out[path] = string(data)
			}
			return nil
		})
		require.NoError(t, err)
	}
	return out
}

func ruleset(t *testing.T) string {
	t.Helper()
	return run(t, "nft", "list", "ruleset")
}

const (
	eventually = 10 * time.Second
	tick       = 20 * time.Millisecond
)

// advertise sends a router advertisement (RFC 4861, 4.2) with a lifetime of half an hour.
func (h *netHost) advertise() error {
	return h.within(func() error {
		conn, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		if err != nil {
			return err
		}
		defer conn.Close()
		raw, err := conn.(*net.IPConn).SyscallConn()
		if err != nil {
			return err
		}
		var bad error
		if err := raw.Control(func(fd uintptr) {
			bad = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255)
		}); err != nil || bad != nil {
			return errors.Join(err, bad)
		}
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		message := []byte{134, 0, 0, 0, 64, 0, 1800 >> 8, 1800 & 0xff, 0, 0, 0, 0, 0, 0, 0, 0}
		_, err = conn.WriteTo(message, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: link.Name})
		return err
	})
}

// hearsAdvertisement has a host advertise itself until the router has the route. It runs in another
// goroutine and so in another namespace.
func (l *lab) hearsAdvertisement(from *netHost) func() bool {
	netns := fmt.Sprintf("--net=/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
	return func() bool {
		if err := from.advertise(); err != nil { // its address is not usable yet
			return false
		}
		out, err := exec.Command("nsenter", netns, "ip", "-6", "route", "show", "default", "proto", "ra").Output()
		return err == nil && len(out) > 0
	}
}
