//go:build root

package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// These tests cover /etc, /run and parts of /usr with file systems of their own and never touch the
// machine's: they need a mount namespace, which .ci/test-tun makes.

// homeDNS is what the host had before; tunnelDNS is reached through wg0.
const (
	homeDNS   = "192.0.2.53"
	tunnelDNS = "10.7.0.53"
)

func wg0DNS() Config {
	return Config{Interface: "wg0", DNS: []netip.Addr{netip.MustParseAddr(tunnelDNS)}, Search: []string{"corp.example", "lab.example"}}
}

// ownHost gives the test a /run and an /etc whose changes end with it.
func ownHost(t *testing.T, lower ...string) {
	t.Helper()
	ownMounts(t)
	cover(t, "tmpfs", "/run", "tmpfs", "mode=755")
	scratch := t.TempDir()
	cover(t, "tmpfs", scratch, "tmpfs", "")
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	require.NoError(t, os.Mkdir(upper, 0o755))
	require.NoError(t, os.Mkdir(work, 0o755))
	lowers := strings.Join(append(lower, "/etc"), ":")
	cover(t, "overlay", "/etc", "overlay", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lowers, upper, work))
	writeResolvConf(t, "nameserver "+homeDNS+"\n")
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
}

// ownMounts fails outside .ci/in-netns, which mounts an empty /run/wireguard first of all.
func ownMounts(t *testing.T) {
	t.Helper()
	mounts, err := readMounts()
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(mounts, func(m mount) bool { return m.point == "/run/wireguard" }),
		"this would mount over the machine's own files: start it by .ci/test-tun")
}

func cover(t *testing.T, source, target, fstype, data string) {
	t.Helper()
	require.NoError(t, unix.Mount(source, target, fstype, 0, data), "mount %s on %s", fstype, target)
	t.Cleanup(func() { require.NoError(t, unix.Unmount(target, unix.MNT_DETACH)) })
}

// writeResolvConf replaces /etc/resolv.conf of the overlay, which may be a link.
func writeResolvConf(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile("/etc/resolv.conf.new", []byte(text), 0o644))
	require.NoError(t, os.Rename("/etc/resolv.conf.new", "/etc/resolv.conf"))
}

// resolvers is the folder with the unpacked packages.
func resolvers(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../.ci/resolvers").Output()
	require.NoError(t, err, ".ci/test-tun fetches them while there is a network")
	return strings.TrimSpace(string(out))
}

func dnsHost(t *testing.T) (*Host, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	return NewHost(Options{Logger: slog.New(slog.NewTextHandler(io.MultiWriter(&log, t.Output()), nil))}), &log
}

// wgQuick calls one function of the real wg-quick(8).
func wgQuick(t *testing.T, function string, c Config, env ...string) {
	t.Helper()
	script := `source <(sed '/function override insertion point/,$d' "$(type -p wg-quick)")
		INTERFACE=$1; DNS=( $2 ); DNS_SEARCH=( $3 ); ` + function
	cmd := exec.Command("bash", "-c", script, "wg-quick", c.Interface,
		strings.Trim(fmt.Sprint(c.DNS), "[]"), strings.Join(c.Search, " "))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "resolvconf", "wg-quick did nothing")
}

// nameServer answers every A query with one address.
type nameServer struct {
	conn   net.PacketConn
	answer netip.Addr
	mu     sync.Mutex
	asked  map[string]bool
}

func serveDNS(t *testing.T, conn net.PacketConn, answer string) *nameServer {
	t.Helper()
	s := &nameServer{conn: conn, answer: netip.MustParseAddr(answer), asked: map[string]bool{}}
	var serving sync.WaitGroup
	serving.Go(s.serve)
	t.Cleanup(func() {
		conn.Close()
		serving.Wait()
	})
	return s
}

func (s *nameServer) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := s.reply(buf[:n]); reply != nil {
			_, _ = s.conn.WriteTo(reply, from)
		}
	}
}

// reply speaks RFC 1035, section 4.1: the header and the question come back, then the answer.
func (s *nameServer) reply(query []byte) []byte {
	const header = 12
	var labels []string
	i := header
	for ; i < len(query) && query[i] != 0; i += 1 + int(query[i]) {
		labels = append(labels, string(query[i+1:i+1+int(query[i])]))
	}
	if i+5 > len(query) {
		return nil
	}
	s.mu.Lock()
	s.asked[strings.ToLower(strings.Join(labels, "."))] = true
	s.mu.Unlock()
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[header:i+5]...)
	if binary.BigEndian.Uint16(query[i+1:]) == 1 { // A
		reply[7] = 1
		reply = append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
		reply = append(reply, s.answer.AsSlice()...)
	}
	return reply
}

func (s *nameServer) wasAsked(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[name]
}

// startHome puts a name server where the host finds it without a tunnel.
func startHome(t *testing.T) *nameServer {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	require.NoError(t, err)
	addr, err := netlink.ParseAddr(homeDNS + "/32")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(lo, addr))
	t.Cleanup(func() { require.NoError(t, netlink.AddrDel(lo, addr)) })
	conn, err := net.ListenPacket("udp4", homeDNS+":53")
	require.NoError(t, err)
	return serveDNS(t, conn, "198.51.100.1")
}

// startTunnel makes wg0, a link to another network namespace with a name server in it.
func startTunnel(t *testing.T) *nameServer {
	t.Helper()
	near := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wg0"}, PeerName: "far"}
	require.NoError(t, netlink.LinkAdd(near))
	t.Cleanup(func() { require.NoError(t, netlink.LinkDel(near)) })
	far, err := netlink.LinkByName("far")
	require.NoError(t, err)

	spaces, moved := make(chan *os.File), make(chan bool)
	type listening struct {
		conn net.PacketConn
		err  error
	}
	ready := make(chan listening)
	go func() { // its thread is never unlocked and ends with it; the socket keeps the namespace
		runtime.LockOSThread()
		var out listening
		defer func() { ready <- out }()
		if out.err = unix.Unshare(unix.CLONE_NEWNET); out.err != nil {
			close(spaces)
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		spaces <- f
		if out.err = err; err != nil || !<-moved {
			return
		}
		if out.err = upWith("far", tunnelDNS+"/24"); out.err == nil {
			out.conn, out.err = net.ListenPacket("udp4", tunnelDNS+":53")
		}
	}()
	if space := <-spaces; space != nil {
		err = netlink.LinkSetNsFd(far, int(space.Fd()))
		space.Close()
		moved <- err == nil
		require.NoError(t, err)
	}
	end := <-ready
	require.NoError(t, end.err)
	require.NoError(t, upWith("wg0", "10.7.0.1/24"))
	return serveDNS(t, end.conn, "198.51.100.2")
}

func upWith(name, address string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, addr); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}
