//go:build root

// Package host runs the built binary on real hosts made of network namespaces, beside the real
// wg-quick(8) and other people's WireGuard, and looks at what is left there with ip(8), nft(8) and
// wg(8) only. It owns what a user sees on a host: the data plane, that we do what wg-quick does, and
// what is said of bad input. Nothing of wgfleet's own code is used. `make test-host` runs it.
package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tools holds wgfleet, both wireguard-go and resolvconf.
var tools = os.Getenv("WGFLEET_TEST_HOST_TOOLS")

func TestMain(m *testing.M) {
	if tools == "" || os.Getppid() != 1 {
		fmt.Fprintln(os.Stderr, "test/host makes hosts of its own in namespaces: run `make test-host`")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// commandTimeout is for a command that hangs.
const commandTimeout = time.Minute

// host is a network namespace with folders of its own under /etc, /run and /var/lib.
type host struct {
	t    *testing.T
	name string // of the network namespace
	pid  int    // whose namespaces they are
}

// hostSetup makes the folders and settings of a host. There is no duplicate address detection: an
// address can be used at once.
const hostSetup = `
set -e
mount -t tmpfs none /run
for dir in /etc /var/lib; do
	mkdir -p /run/overlay$dir/upper /run/overlay$dir/work
	mount -t overlay none -o lowerdir=$dir,upperdir=/run/overlay$dir/upper,workdir=/run/overlay$dir/work $dir
done
mount -t sysfs none /sys
rm -rf /etc/wireguard /etc/resolv.conf /var/lib/wgfleet
mkdir -m 700 /etc/wireguard
echo 'resolv_conf=/etc/resolv.conf' >/etc/resolvconf.conf
echo 'nameserver 192.0.2.53' >/etc/resolv.conf
echo '127.0.0.1 localhost' >/etc/hosts
cd /proc/sys/net/ipv6/conf
for conf in all default; do
	echo 0 >$conf/accept_dad
	echo 0 >$conf/accept_ra
	echo 1 >$conf/keep_addr_on_down
done
ip link set lo up
echo ready
exec cat
`

var hosts atomic.Int32

// newHost makes a host that goes, with all that runs on it, when the test is done.
func newHost(t *testing.T, label string) *host {
	t.Helper()
	h := &host{t: t, name: fmt.Sprintf("%s-%d", label, hosts.Add(1))}
	keeper := exec.Command("unshare", "--net", "--mount", "bash", "-c", hostSetup)
	stay, err := keeper.StdinPipe()
	require.NoError(t, err)
	out, err := keeper.StdoutPipe()
	require.NoError(t, err)
	var complaint strings.Builder
	keeper.Stderr = &complaint
	require.NoError(t, keeper.Start())
	h.pid = keeper.Process.Pid
	t.Cleanup(func() {
		stay.Close()
		keeper.Wait() // it has nothing to say
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		stay.Close()
		keeper.Wait() // for its complaint
		t.Fatalf("a host can't be made: %v %s", err, complaint.String())
	}
	command(t, "ip", "netns", "attach", h.name, strconv.Itoa(h.pid))
	t.Cleanup(h.clear)
	return h
}

// clear ends what the host still runs: wg-quick leaves daemons.
func (h *host) clear() {
	out, _ := exec.Command("ip", "netns", "pids", h.name).Output() // gone: nothing runs
	for field := range strings.FieldsSeq(string(out)) {
		if pid, err := strconv.Atoi(field); err == nil && pid != h.pid {
			unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
	command(h.t, "ip", "netns", "delete", h.name)
}

// command runs a program outside of the hosts.
func command(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%s\n%s", strings.Join(args, " "), out)
}

// environment is what a root shell of the host has.
func environment(more ...string) []string {
	return append([]string{
		"PATH=" + tools + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
		"WG_QUICK_USERSPACE_IMPLEMENTATION=" + newest,
	}, more...)
}

// The two wireguard-go.
var (
	newest = filepath.Join(tools, "wireguard-go")
	debian = filepath.Join(tools, "wireguard-go-debian")
)

// command is a program on the host.
func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(h.pid), "--net", "--mount", "--",
	}, args...)...)
	cmd.Env = environment()
	return cmd
}

// try runs a program on the host and returns what it said on both of its streams.
func (h *host) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := h.command(ctx, args...)
	cmd.WaitDelay = time.Second // a daemon may hold the streams
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try for what must succeed.
func (h *host) run(args ...string) string {
	h.t.Helper()
	out, err := h.try(args...)
	require.NoError(h.t, err, "%s: %s\n%s", h.name, strings.Join(args, " "), out)
	return out
}

// sh runs lines of shell that must all succeed.
func (h *host) sh(script string) string {
	h.t.Helper()
	return h.run("bash", "-euc", script)
}

// write makes a file that only root may read.
func (h *host) write(path, text string) {
	h.t.Helper()
	cmd := h.command(h.t.Context(), "bash", "-c", `umask 077 && cat >"$1"`, "write", path)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	require.NoError(h.t, err, "%s", out)
}

// quick is wg-quick(8) with that wireguard-go, since the kernel may have no module.
func (h *host) quick(implementation, verb, name string) {
	h.t.Helper()
	h.run("env", "WG_QUICK_USERSPACE_IMPLEMENTATION="+implementation, "wg-quick", verb, name)
}

// inside runs f on a thread that is on the host's network meanwhile.
func (h *host) inside(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pid))
		if err != nil {
			done <- err
			return
		}
		defer there.Close()
		if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, back) // locked, the thread ends with the goroutine
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// dial connects from the host to a numeric address.
func (h *host) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = h.inside(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// listen opens a port on the host; it is closed with the test.
func (h *host) listen(address string) net.Listener {
	h.t.Helper()
	var l net.Listener
	require.NoError(h.t, h.inside(func() (err error) {
		l, err = new(net.ListenConfig).Listen(h.t.Context(), "tcp", address)
		return err
	}))
	h.t.Cleanup(func() { l.Close() })
	return l
}

// connect lays a cable between two hosts.
func connect(a *host, aLink string, b *host, bLink string, mtu int) {
	a.t.Helper()
	command(a.t, "ip", "-n", a.name, "link", "add", aLink, "mtu", strconv.Itoa(mtu), "type", "veth",
		"peer", "name", bLink, "mtu", strconv.Itoa(mtu), "netns", b.name)
	a.run("ip", "link", "set", aLink, "up")
	b.run("ip", "link", "set", bLink, "up")
}

// follow hands each line of a stream to f until the stream ends.
func follow(r io.Reader, f func(line string)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f(lines.Text())
	}
}
