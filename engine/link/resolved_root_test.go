//go:build root

package link

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <servicedir>/run/dbus/services</servicedir>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

// startable would start systemd-resolved for whoever calls it, where the bus may.
const startable = "[D-BUS Service]\nName=" + resolvedName + "\nExec=/usr/bin/touch /run/started\n"

// startBus runs a system bus in /run.
func startBus(t *testing.T) {
	t.Helper()
	require.NoError(t, os.MkdirAll("/run/dbus/services", 0o755))
	require.NoError(t, os.WriteFile("/run/dbus/services/"+resolvedName+".service", []byte(startable), 0o644))
	require.NoError(t, os.WriteFile("/run/dbus/bus.conf", []byte(busConfig), 0o644))
	cmd := exec.Command("dbus-daemon", "--config-file=/run/dbus/bus.conf", "--nofork", "--print-address")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start(t, cmd)
	_, err = bufio.NewReader(out).ReadString('\n') // it listens
	require.NoError(t, err)
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// startResolved runs Debian's systemd-resolved, with the home server as its only one, and makes its
// stub the host's resolver. The result is what its programs need in their environment.
func startResolved(t *testing.T, dir string) (env string) {
	t.Helper()
	addLine(t, "/etc/passwd", "systemd-resolve:x:64990:64990::/:/usr/sbin/nologin")
	addLine(t, "/etc/group", "systemd-resolve:x:64990:")
	require.NoError(t, os.MkdirAll(resolvedDir, 0o755))
	require.NoError(t, os.Chown(resolvedDir, 64990, 64990))
	require.NoError(t, os.MkdirAll("/etc/systemd", 0o755))
	settings := "[Resolve]\nDNS=" + homeDNS + "\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n"
	require.NoError(t, os.WriteFile("/etc/systemd/resolved.conf", []byte(settings), 0o644))
	require.NoError(t, os.Remove("/etc/resolv.conf"))
	require.NoError(t, os.Symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf"))

	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/run/ready", Net: "unixgram"})
	require.NoError(t, err)
	defer ready.Close()
	require.NoError(t, os.Chmod("/run/ready", 0o777))
	libs, err := filepath.Glob(dir + "/libsystemd-shared/usr/lib/*/systemd")
	require.NoError(t, err)
	require.Len(t, libs, 1)
	env = "LD_LIBRARY_PATH=" + libs[0]
	cmd := exec.Command(dir + "/systemd-resolved/lib/systemd/systemd-resolved")
	cmd.Env = append(os.Environ(), env, "NOTIFY_SOCKET=/run/ready")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	start(t, cmd)
	require.NoError(t, ready.SetReadDeadline(time.Now().Add(30*time.Second)))
	for said := make([]byte, 4096); ; {
		n, err := ready.Read(said)
		require.NoError(t, err, "systemd-resolved does not get ready")
		if strings.Contains(string(said[:n]), "READY=1") {
			break
		}
	}
	require.Eventually(t, func() bool { // its name comes to the bus later
		r := dialResolved(t.Context())
		if r != nil {
			r.close()
		}
		return r != nil
	}, 30*time.Second, 10*time.Millisecond)
	return env
}

func addLine(t *testing.T, file, line string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	if name, _, _ := strings.Cut(line, ":"); !strings.Contains("\n"+string(text), "\n"+name+":") {
		require.NoError(t, os.WriteFile(file, append(text, line+"\n"...), 0o644))
	}
}

// askStub looks a name up as the programs of the host do.
func askStub(t *testing.T, name string) string {
	t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.53:53")
	}}
	got, err := r.LookupNetIP(t.Context(), "ip4", name+".")
	require.NoError(t, err)
	require.Len(t, got, 1)
	return got[0].String()
}

func TestResolvedAsksTheServersOfTheInterface(t *testing.T) {
	dir := resolvers(t)
	ownHost(t)
	home, tunnel := startHome(t), startTunnel(t)
	startBus(t)
	startResolved(t, dir)
	require.Equal(t, "198.51.100.1", askStub(t, "before.example"))

	h, log := dnsHost(t)
	for i := range 2 { // the second time after a process that was killed
		require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
		require.Contains(t, log.String(), "by=systemd-resolved")
		name := fmt.Sprintf("up%d.example", i)
		require.Equal(t, "198.51.100.2", askStub(t, name))
		require.True(t, tunnel.wasAsked(name))
		require.False(t, home.wasAsked(name), "a query left beside the tunnel")
	}

	after, _ := dnsHost(t)
	for range 2 { // there is nothing to take back the second time
		require.NoError(t, after.unsetDNS(t.Context(), wg0DNS()))
	}
	require.Equal(t, "198.51.100.1", askStub(t, "after.example"))
	require.False(t, tunnel.wasAsked("after.example"))
	records, err := after.dnsRecords()
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestResolvedAsWgQuickSetsIt(t *testing.T) {
	dir := resolvers(t)
	ownHost(t)
	startTunnel(t)
	startBus(t)
	env := startResolved(t, dir)
	// What systemd installs as resolvconf, for wg-quick alone.
	bin := t.TempDir()
	require.NoError(t, os.Symlink(dir+"/systemd-resolved/usr/bin/resolvectl", bin+"/resolvconf"))
	wgQuickEnv := []string{env, "PATH=" + bin + ":" + os.Getenv("PATH")}
	show := func(what ...string) string {
		var out strings.Builder
		for _, what := range what {
			cmd := exec.Command(dir+"/systemd-resolved/usr/bin/resolvectl", what, "wg0")
			cmd.Env = append(os.Environ(), env)
			said, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", said)
			out.Write(said)
		}
		return out.String()
	}
	c := wg0DNS()
	c.DNS = append(c.DNS, netip.MustParseAddr("fd00:7::53"))
	h, _ := dnsHost(t)

	none := show("dns", "domain")
	wgQuick(t, "set_dns", c, wgQuickEnv...)
	want := show("dns", "domain")
	require.Contains(t, want, "~.")
	require.Contains(t, want, "fd00:7::53")
	require.NoError(t, h.unsetDNS(t.Context(), c))
	require.Equal(t, none, show("dns", "domain"))

	require.NoError(t, h.setDNS(t.Context(), c))
	require.Equal(t, want, show("dns", "domain"))
	require.Contains(t, show("default-route"), "yes")
	wgQuick(t, "unset_dns", c, wgQuickEnv...)
	require.Equal(t, none, show("dns", "domain"))

	require.NoError(t, h.setDNS(t.Context(), c))
	require.NoError(t, h.unsetDNS(t.Context(), Config{Interface: "wg0"}), "DNS was taken out of the file meanwhile")
	require.Equal(t, none, show("dns", "domain"))
}

// systemd-resolved is not started where the host chose to do without it.
func TestResolvedIsNotStarted(t *testing.T) {
	ownHost(t)
	startBus(t)
	writeResolvConf(t, "nameserver 127.0.0.53\n")
	h, log := dnsHost(t)
	require.NoError(t, h.setDNS(t.Context(), wg0DNS()))
	require.Contains(t, log.String(), "mounted over")
	require.NoError(t, h.unsetDNS(t.Context(), wg0DNS()))
	require.NoFileExists(t, "/run/started")
}

func TestResolvedRefuses(t *testing.T) {
	dir := resolvers(t)
	ownHost(t)
	startBus(t)
	startResolved(t, dir)
	h, _ := dnsHost(t)
	c := wg0DNS()
	c.Interface = "lo" // systemd-resolved never takes it
	require.ErrorContains(t, h.setDNS(t.Context(), c), "SetLinkDNS of systemd-resolved for lo")
}
