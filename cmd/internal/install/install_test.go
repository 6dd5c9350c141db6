package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
)

// bus is systemd as far as an installation sees it.
type bus struct {
	active, enabled map[string]bool
	done            []string
	fails           string // this call fails, once
}

func (b *bus) State(_ context.Context, unit string) (s systemd.State, err error) {
	if b.active[unit] {
		s.Active = "active"
	}
	if b.enabled[unit] {
		s.Enabled = "enabled"
	}
	return s, nil
}

func (b *bus) call(verb, unit string, set map[string]bool, to bool) error {
	call := strings.TrimSpace(verb + " " + unit)
	if b.fails == call {
		b.fails = ""
		return errors.New(call + ": no")
	}
	if set[unit] != to || verb == "restart" {
		b.done = append(b.done, call)
	}
	if set != nil {
		set[unit] = to
	}
	return nil
}

func (b *bus) Start(_ context.Context, u string) error { return b.call("start", u, b.active, true) }

func (b *bus) Restart(_ context.Context, u string) error { return b.call("restart", u, b.active, true) }

func (b *bus) Stop(_ context.Context, u string) error { return b.call("stop", u, b.active, false) }

func (b *bus) Enable(_ context.Context, u string) error { return b.call("enable", u, b.enabled, true) }

func (b *bus) Disable(_ context.Context, u string) error {
	return b.call("disable", u, b.enabled, false)
}
func (b *bus) Reload(context.Context) error { return b.call("reload", "", nil, true) }

type host struct {
	*testing.T
	bus  *bus
	root string
	said []string
}

func newHost(t *testing.T) *host {
	return &host{T: t, bus: &bus{active: map[string]bool{}, enabled: map[string]bool{}}, root: t.TempDir()}
}

// with makes the options; the program is a file of this content.
func (h *host) with(program string, change ...func(*Options)) Options {
	h.Helper()
	path := filepath.Join(h.TempDir(), "wgfleet")
	require.NoError(h, os.WriteFile(path, []byte(program), 0o755))
	o := Options{Root: hostfile.Root(h.root), Executable: path, Systemd: h.bus, Progress: func(s string) { h.said = append(h.said, s) }}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (h *host) install(o Options) {
	h.Helper()
	p, err := New(o)
	require.NoError(h, err)
	require.NoError(h, p.Apply(h.Context()))
}

func (h *host) read(path string) string {
	h.Helper()
	text, err := os.ReadFile(filepath.Join(h.root, path))
	require.NoError(h, err)
	return string(text)
}

// files are all that are there, and their modes.
func (h *host) files() (out []string) {
	h.Helper()
	require.NoError(h, filepath.WalkDir(h.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		out = append(out, strings.TrimPrefix(path, h.root)+" "+info.Mode().String())
		return err
	}))
	return out
}

func TestANodeComesAndGoes(t *testing.T) {
	h := newHost(t)
	h.install(h.with("v1"))
	require.Equal(t, []string{
		"/etc/systemd/system/wgfleet.service -rw-r--r--", "/etc/systemd/system/wgfleet.socket -rw-r--r--",
		"/etc/wgfleet/agent.secret -rw-------", "/etc/wgfleet/install.json -rw-------", "/etc/wgfleet/wgfleet.env -rw-------",
		"/usr/local/bin/wgfleet -rwxr-xr-x",
	}, h.files())
	require.Equal(t, []string{"reload", "start wgfleet.socket", "restart wgfleet.service", "enable wgfleet.service", "enable wgfleet.socket"}, h.bus.done)
	require.Contains(t, h.read("/etc/systemd/system/wgfleet.service"), "ExecStart=/usr/local/bin/wgfleet serve ")
	secret := h.read("/etc/wgfleet/agent.secret")
	require.Greater(t, len(secret), 32)
	require.NotContains(t, strings.Join(h.said, "\n")+h.read(recordPath), strings.TrimSpace(secret))

	h.bus.done = nil
	h.install(h.with("v2"))
	require.Equal(t, []string{"reload", "restart wgfleet.service"}, h.bus.done, "the port is never let go")
	require.Equal(t, "v2", h.read(Program))
	require.Equal(t, secret, h.read("/etc/wgfleet/agent.secret"))

	h.bus.done = nil
	p, err := Uninstall(h.with("v2"))
	require.NoError(t, err)
	require.NoError(t, p.Apply(t.Context()))
	require.Equal(t, []string{"/etc/wgfleet/agent.secret -rw-------", "/etc/wgfleet/wgfleet.env -rw-------"}, h.files())
	require.Equal(t, []string{"stop wgfleet.socket", "disable wgfleet.socket", "stop wgfleet.service", "disable wgfleet.service", "reload"}, h.bus.done)
	p, err = Uninstall(h.with("v2"))
	require.NoError(t, err)
	require.Empty(t, p.Steps)
}

func TestRolesChange(t *testing.T) {
	h := newHost(t)
	h.install(h.with("v1", func(o *Options) { o.Panel, o.NoAgent = true, true }))
	require.NotContains(t, h.read("/etc/systemd/system/wgfleet.service.d/panel-only.conf"), packaged)
	require.FileExists(t, h.root+"/etc/systemd/system/wgfleet.service.d/unprivileged.conf")
	require.NoFileExists(t, h.root+secretPath)
	require.Equal(t, map[string]bool{service: true, panelSocket: true}, h.bus.active)

	h.install(h.with("v1", func(o *Options) { o.Panel = true }))
	require.NoFileExists(t, h.root+"/etc/systemd/system/wgfleet.service.d/panel-only.conf")
	require.NoFileExists(t, h.root+"/etc/systemd/system/wgfleet.service.d/unprivileged.conf")
	require.FileExists(t, h.root+"/etc/systemd/system/wgfleet.service.d/panel.conf")
	require.Equal(t, map[string]bool{service: true, panelSocket: true, agentSocket: true}, h.bus.active)

	h.install(h.with("v1", func(o *Options) { o.Unprivileged = true }))
	require.Equal(t, map[string]bool{service: true, panelSocket: false, agentSocket: true}, h.bus.active)
	require.False(t, h.bus.enabled[panelSocket])
	require.NoFileExists(t, h.root+unitDir+"/"+panelSocket)

	_, err := New(h.with("v1", func(o *Options) { o.NoAgent = true }))
	require.EqualError(t, err, "neither the agent nor the panel would run: give --panel with --no-agent")
}

func TestNothingOfOthersIsTouched(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(h.root, unitDir, service)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	before := h.files()
	_, err := New(h.with("v1"))
	require.ErrorContains(t, err, unitDir+"/wgfleet.service is there and not as `wgfleet install` wrote it")
	require.Equal(t, before, h.files())
	require.NoError(t, os.Remove(path))

	h.install(h.with("v1"))
	require.NoError(t, os.WriteFile(path, []byte("changed since"), 0o600))
	_, err = New(h.with("v2"))
	require.ErrorContains(t, err, "wgfleet.service is there and not as `wgfleet install` wrote it")
	require.Equal(t, "v1", h.read(Program))
	p, err := Uninstall(h.with("v1"))
	require.NoError(t, err)
	require.NoError(t, p.Apply(t.Context()))
	require.Equal(t, "changed since", h.read(unitDir+"/"+service))
	require.Contains(t, h.said, "kept "+unitDir+"/wgfleet.service: it was changed since wgfleet install wrote it")
}

// What a failure cuts off goes on with the next run, of whatever version.
func TestCutOff(t *testing.T) {
	calls := []string{"reload", "start " + agentSocket, "restart " + service, "enable " + agentSocket}
	for _, fails := range calls {
		h := newHost(t)
		h.bus.fails = fails
		p, err := New(h.with("v1"))
		require.NoError(t, err)
		require.ErrorContains(t, p.Apply(t.Context()), fails+": no")
		h.install(h.with("v2"))
		require.Equal(t, "v2", h.read(Program))
		require.Equal(t, map[string]bool{service: true, agentSocket: true}, h.bus.enabled)
	}
	for at := range 8 {
		h := newHost(t)
		ctx, cancel := context.WithCancel(t.Context())
		p, err := New(h.with("v1", func(o *Options) {
			o.Progress = func(s string) {
				if h.said = append(h.said, s); len(h.said) == at+1 {
					cancel()
				}
			}
		}))
		require.NoError(t, err)
		require.ErrorIs(t, p.Apply(ctx), context.Canceled)
		cancel()
		h.install(h.with("v2"))
		require.Equal(t, "v2", h.read(Program))
		u, err := Uninstall(h.with("v2"))
		require.NoError(t, err)
		require.NoError(t, u.Apply(t.Context()))
		require.Len(t, h.files(), 2)
	}
}

// What nobody stopped is stopped by the next run, or by an uninstallation.
func TestUnitsAreNotForgotten(t *testing.T) {
	withPanel := func(o *Options) { o.Panel = true }
	for _, again := range []func(h *host){
		func(h *host) {
			h.bus.fails = "stop " + panelSocket
			p, err := New(h.with("v1"))
			require.NoError(t, err)
			require.Error(t, p.Apply(t.Context()))
			h.install(h.with("v1"))
		},
		func(h *host) {
			h.install(h.with("v1", func(o *Options) { o.NoStart = true }))
			require.True(t, h.bus.active[panelSocket])
			h.install(h.with("v1"))
		},
		func(h *host) {
			h.install(h.with("v1", func(o *Options) { o.NoStart = true }))
			p, err := Uninstall(h.with("v1"))
			require.NoError(t, err)
			require.NoError(t, p.Apply(t.Context()))
		},
	} {
		h := newHost(t)
		h.install(h.with("v1", withPanel))
		require.True(t, h.bus.active[panelSocket] && h.bus.enabled[panelSocket])
		again(h)
		require.False(t, h.bus.active[panelSocket] || h.bus.enabled[panelSocket])
	}
}

func TestPlacesThatAreRefused(t *testing.T) {
	h := newHost(t)
	_, err := New(h.with("v1", func(o *Options) { o.Root = "/nowhere" }))
	require.EqualError(t, err, "/nowhere is no folder: expected the root of a system")
	_, err = Uninstall(h.with("v1", func(o *Options) { o.Root = "/nowhere" }))
	require.Error(t, err)

	h.install(h.with("v1", func(o *Options) { o.Systemd = nil }))
	info, err := os.Stat(filepath.Join(h.root, "etc"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm())
	require.NoError(t, os.WriteFile(filepath.Join(h.root, recordPath), []byte("bad"), 0o600))
	_, err = New(h.with("v1"))
	require.ErrorContains(t, err, "move it away and run `wgfleet install` again")

	moved := newHost(t)
	require.NoError(t, os.MkdirAll(filepath.Join(moved.root, "/var/lib/wgfleet"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(moved.root, migrationPath), []byte("{}"), 0o600))
	_, err = New(moved.with("v1"))
	require.ErrorContains(t, err, "`wgfleet migrate` set this host up")
}

// The settings that an administrator made say where the sockets are; a secret has one place.
func TestSettingsThatAreThere(t *testing.T) {
	h := newHost(t)
	set := func(text string) {
		require.NoError(t, os.MkdirAll(filepath.Join(h.root, etcDir), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(h.root, envPath), []byte(text), 0o600))
	}
	set("WG_AGENT_HOST=10.0.0.1\nWG_AGENT_PORT = \"9090\"\n")
	h.install(h.with("v1"))
	listen := unitDir + "/wgfleet.socket.d/listen.conf"
	require.Equal(t, "[Socket]\nListenStream=\nListenStream=10.0.0.1:9090\n", h.read(listen))

	h.bus.done = nil
	set("WG_AGENT_HOST=::1\n")
	h.install(h.with("v1"))
	require.Contains(t, h.read(listen), "=[::1]:8080\n")
	require.Equal(t, []string{"reload", "stop wgfleet.service", "stop wgfleet.socket", "start wgfleet.socket", "restart wgfleet.service"}, h.bus.done)

	h.bus.done = nil
	set("WG_AGENT_HOST=::2\n")
	h.bus.fails = "start wgfleet.socket"
	p, err := New(h.with("v1"))
	require.NoError(t, err)
	require.ErrorContains(t, p.Apply(t.Context()), "where another program has the port")
	require.True(t, h.bus.active[service], "it carries traffic")

	// A run that was cut off before the socket moved is made good by the next, though all is written.
	h.install(h.with("v1"))
	set("WG_AGENT_HOST=::3\n")
	h.bus.fails = "reload"
	p, err = New(h.with("v1"))
	require.NoError(t, err)
	require.ErrorContains(t, p.Apply(t.Context()), "reload: no")
	require.True(t, h.bus.active[agentSocket])
	h.bus.done = nil
	h.install(h.with("v1"))
	require.Contains(t, h.bus.done, "start wgfleet.socket")

	set("")
	h.bus.done = nil
	h.install(h.with("v1"))
	require.NoFileExists(t, h.root+listen)
	require.Contains(t, h.bus.done, "start wgfleet.socket", "it is where it was")
	for text, want := range map[string]string{
		"WG_AGENT_SECRET=x":                    "/etc/wgfleet/wgfleet.env sets WG_AGENT_SECRET, and the unit reads the secret from /etc/wgfleet/agent.secret",
		"WG_AGENT_HOST=vpn":                    `expected an IP address, for the socket of systemd`,
		"WG_AGENT_PORT=0":                      "expected a port from 1 to 65535",
		"WG_AGENT_PORT=\"80\nExecStartPre=x\"": "expected a port from 1 to 65535",
	} {
		set(text)
		before := h.files()
		_, err := New(h.with("v2"))
		require.ErrorContains(t, err, want)
		require.Equal(t, before, h.files())
	}
}

// A package brings its own units and program.
func TestBesideAPackage(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{service, agentSocket, panelSocket} {
		require.NoError(t, os.MkdirAll(filepath.Join(h.root, packageDir), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(h.root, packageDir, name), nil, 0o600))
	}
	o := h.with("v1", func(o *Options) { o.Panel, o.Executable = true, packaged })
	h.install(o)
	require.NoFileExists(t, h.root+unitDir+"/"+service)
	require.NoFileExists(t, h.root+Program)
	require.True(t, slices.Contains(h.bus.done, "enable "+panelSocket))
	require.FileExists(t, h.root+dropInDir+"/panel.conf")
}
