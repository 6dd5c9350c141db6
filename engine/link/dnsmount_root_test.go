//go:build root

package link

import (
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

func oneDNS(ifname, server string) Config {
	return Config{Interface: ifname, DNS: []netip.Addr{netip.MustParseAddr(server)}}
}

// mountsOver counts what lies over a path, seen or not.
func mountsOver(t require.TestingT, point string) int {
	mounts, err := readMounts()
	require.NoError(t, err)
	n := 0
	for _, m := range mounts {
		if m.point == point {
			n++
		}
	}
	return n
}

func TestMountedFileIsAskedFrom(t *testing.T) {
	ownHost(t)
	home, tunnel := startHome(t), startTunnel(t)
	lookUp := func(name string) string {
		out, err := exec.Command("getent", "ahostsv4", name).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	require.Contains(t, lookUp("before.example"), "198.51.100.1")

	before, err := os.Stat("/etc/resolv.conf")
	require.NoError(t, err)
	h, log := dnsHost(t)
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	require.Contains(t, log.String(), "mounted over /etc/resolv.conf")
	require.Contains(t, lookUp("up.example"), "198.51.100.2")
	require.False(t, home.wasAsked("up.example"))
	lookUp("short")
	require.True(t, tunnel.wasAsked("short.corp.example"), "the search domains count")
	text := readFile(t, "/etc/resolv.conf")
	require.Contains(t, text, resolvLines(wg0DNS()))
	require.Contains(t, text, "umount /etc/resolv.conf")
	require.ErrorIs(t, os.WriteFile("/etc/resolv.conf", nil, 0o644), unix.EROFS)

	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.Contains(t, lookUp("after.example"), "198.51.100.1")
	require.False(t, tunnel.wasAsked("after.example"))
	after, err := os.Stat("/etc/resolv.conf")
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, before.ModTime(), after.ModTime(), "it was never written to")
	require.Zero(t, mountsOver(t, "/etc/resolv.conf"))
}

// The interfaces come and go in any order, with processes that are killed in between: the host has
// the servers of the one that came last of those that are up, and in the end its own file.
func TestMountComesOffInAnyOrder(t *testing.T) {
	ownHost(t)
	h := NewHost(Options{})
	base := readFile(t, "/etc/resolv.conf")
	rapid.Check(t, func(t *rapid.T) {
		up := map[string]Config{}
		var order []string // as they came
		ups := func(name string, c Config) {
			if old, ok := up[name]; !ok || resolvLines(old) != resolvLines(c) {
				order = append(slices.DeleteFunc(order, func(s string) bool { return s == name }), name)
			}
			up[name] = c
			require.NoError(t, h.setDNS(t.Context(), c))
		}
		downs := func(name string) {
			c := Config{Interface: name} // DNS may be gone from the file
			delete(up, name)
			order = slices.DeleteFunc(order, func(s string) bool { return s == name })
			require.NoError(t, h.unsetDNS(t.Context(), c))
		}
		names := rapid.SampledFrom([]string{"wg0", "wg1", "x.wg1", "wg2"})
		draw := func(t *rapid.T) Config {
			c := oneDNS(names.Draw(t, "name"), rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.254"}).Draw(t, "server"))
			if rapid.Bool().Draw(t, "domains") {
				c.Search = []string{"corp.example"}
			}
			return c
		}
		t.Repeat(map[string]func(*rapid.T){
			"up": func(t *rapid.T) {
				c := draw(t)
				ups(c.Interface, c)
			},
			"down": func(t *rapid.T) { downs(names.Draw(t, "name")) },
			"up, killed before it was mounted": func(t *rapid.T) {
				c := draw(t)
				require.NoError(t, h.recordDNS(c))
				ups(c.Interface, c)
			},
			"down, killed before it was unmounted": func(t *rapid.T) {
				c := draw(t)
				if _, there := up[c.Interface]; there {
					_, err := h.forgetDNS(c.Interface)
					require.NoError(t, err)
					require.NoError(t, h.unsetDNS(t.Context(), c))
					downs(c.Interface)
				}
			},
			"": func(t *rapid.T) {
				got, err := os.ReadFile("/etc/resolv.conf")
				require.NoError(t, err)
				if len(order) == 0 {
					require.Equal(t, base, string(got))
					require.Zero(t, mountsOver(t, "/etc/resolv.conf"))
					return
				}
				last := order[len(order)-1]
				require.Contains(t, string(got), "interface "+last+",")
				require.True(t, strings.HasSuffix(string(got), "\n"+resolvLines(up[last])), "%s", got)
				require.Equal(t, 1, mountsOver(t, "/etc/resolv.conf"))
			},
		})
		for _, n := range slices.Collect(maps.Keys(up)) {
			downs(n)
		}
		require.Zero(t, mountsOver(t, "/etc/resolv.conf"))
	})
	require.Equal(t, base, readFile(t, "/etc/resolv.conf"))
}

func TestMountGoesOverTheFileBehindALink(t *testing.T) {
	ownHost(t)
	require.NoError(t, os.MkdirAll("/run/net", 0o755))
	require.NoError(t, os.WriteFile("/run/net/resolv.conf", []byte("nameserver "+homeDNS+"\n"), 0o644))
	require.NoError(t, os.Remove("/etc/resolv.conf"))
	require.NoError(t, os.Symlink("../run/net/resolv.conf", "/etc/resolv.conf"))
	h, _ := dnsHost(t)
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	require.Contains(t, readFile(t, "/run/net/resolv.conf"), tunnelDNS)

	// Something puts a file in the place of the link: ours is still found.
	writeResolvConf(t, "nameserver 192.0.2.54\n")
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.Equal(t, "nameserver "+homeDNS+"\n", readFile(t, "/run/net/resolv.conf"))
	require.Equal(t, "nameserver 192.0.2.54\n", readFile(t, "/etc/resolv.conf"))
}

func TestMountWhereThereIsNoFile(t *testing.T) {
	ownHost(t)
	require.NoError(t, os.Remove("/etc/resolv.conf"))
	h, _ := dnsHost(t)
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	require.Contains(t, readFile(t, "/etc/resolv.conf"), tunnelDNS)
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.Empty(t, readFile(t, "/etc/resolv.conf"), "which is to programs as if there were none")
}

func TestMountOfAnotherProgramStays(t *testing.T) {
	ownHost(t)
	base := readFile(t, "/etc/resolv.conf")
	h, _ := dnsHost(t)
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	const theirs = "nameserver 192.0.2.55\n"
	require.NoError(t, os.WriteFile("/run/other", []byte(theirs), 0o644))
	require.NoError(t, unix.Mount("/run/other", "/etc/resolv.conf", "", unix.MS_BIND, ""))

	for range 2 {
		require.ErrorContains(t, h.unsetDNS(t.Context(), wg0DNS()), "umount /etc/resolv.conf once, then take wg0 down again")
		require.Equal(t, theirs, readFile(t, "/etc/resolv.conf"))
	}
	require.NoError(t, h.unsetDNS(t.Context(), Config{Interface: "wg1"}), "another interface has nothing to do with it")
	for range 2 { // above what is there, once
		require.NoError(t, h.setDNS(t.Context(), oneDNS("wg1", "10.0.0.1")))
		require.Contains(t, readFile(t, "/etc/resolv.conf"), "10.0.0.1")
		require.Equal(t, 3, mountsOver(t, "/etc/resolv.conf"))
	}
	require.ErrorContains(t, h.unsetDNS(t.Context(), oneDNS("wg1", "10.0.0.1")), "another program")
	require.Equal(t, theirs, readFile(t, "/etc/resolv.conf"))

	require.NoError(t, unix.Unmount("/etc/resolv.conf", 0))
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.Equal(t, base, readFile(t, "/etc/resolv.conf"))
	require.Zero(t, mountsOver(t, "/etc/resolv.conf"))
}

// A resolvconf that is installed meanwhile would write to our file.
func TestMountStaysTheWayWhileItIsThere(t *testing.T) {
	ownOpenresolv(t)
	base := readFile(t, "/etc/resolv.conf")
	h, _ := dnsHost(t)
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	t.Setenv("PATH", path)
	require.NoError(t, h.setDNS(t.Context(), oneDNS("wg1", "10.0.0.1")))
	require.Contains(t, readFile(t, "/etc/resolv.conf"), "10.0.0.1")
	require.NoError(t, h.unsetDNS(t.Context(), oneDNS("wg1", "10.0.0.1")))
	require.Contains(t, readFile(t, "/etc/resolv.conf"), tunnelDNS)
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.Equal(t, base, readFile(t, "/etc/resolv.conf"))
}

func TestMountIsReadableToAllAndKeepsTheLabel(t *testing.T) {
	ownHost(t)
	defer unix.Umask(unix.Umask(0o077))
	const label = "system_u:object_r:net_conf_t:s0\x00"
	require.NoError(t, unix.Setxattr("/etc/resolv.conf", "security.selinux", []byte(label), 0))
	h, _ := dnsHost(t)
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	info, err := os.Stat("/etc/resolv.conf")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode())
	got := make([]byte, 64)
	n, err := unix.Getxattr("/etc/resolv.conf", "security.selinux", got)
	require.NoError(t, err)
	require.Equal(t, label, string(got[:n]))
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
}

// A folder that was removed, as systemd does with a service's when it stops, does not hide the mount.
func TestMountIsFoundWithoutItsFolder(t *testing.T) {
	ownHost(t)
	base := readFile(t, "/etc/resolv.conf")
	h, _ := dnsHost(t)
	for _, again := range []bool{false, true} {
		require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
		require.NoError(t, os.RemoveAll(DefaultRunDir))
		if again {
			require.NoError(t, h.setDNS(t.Context(), oneDNS("wg0", "10.0.0.1")))
			require.Contains(t, readFile(t, "/etc/resolv.conf"), "10.0.0.1")
			require.Equal(t, 1, mountsOver(t, "/etc/resolv.conf"))
		}
		require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
		require.Equal(t, base, readFile(t, "/etc/resolv.conf"))
		require.Zero(t, mountsOver(t, "/etc/resolv.conf"))
	}
}

func TestMountIsNotPermitted(t *testing.T) {
	ownHost(t)
	base := readFile(t, "/etc/resolv.conf")
	h, _ := dnsHost(t)
	ended := make(chan error)
	go func() { // capabilities are the thread's, which ends with this
		runtime.LockOSThread()
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&hdr, &data[0])
		if err == nil {
			data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
			err = unix.Capset(&hdr, &data[0])
		}
		if err == nil {
			err = h.setDNS(t.Context(), wg0DNS())
		}
		ended <- err
	}()
	err := <-ended
	require.ErrorIs(t, err, engine.ErrNotPermitted)
	require.ErrorContains(t, err, "mount a file over /etc/resolv.conf needs CAP_SYS_ADMIN")
	require.NotContains(t, err.Error(), "\n")
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.Equal(t, base, readFile(t, "/etc/resolv.conf"))
	entries, err := filepath.Glob(DefaultRunDir + "/dns/*")
	require.NoError(t, err)
	require.Empty(t, strings.Join(entries, " "))
}
