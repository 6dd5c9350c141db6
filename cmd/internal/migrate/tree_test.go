package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client/originaltest"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

const (
	testFrom   = "/opt/wgdashboard-agent"
	testUnit   = "wgdashboard-agent.service"
	testSecret = `a "secret" of $several \words`
	oldPID     = 4711
)

// tree is a host made of files: nothing of the real one is looked at.
type tree struct {
	*testing.T
	root     string
	fake     *enginetest.Fake
	systemd  *fakeSystemd // nil: none answers
	handler  atomic.Pointer[http.Handler]
	port     int
	progress []string
}

// newTree makes a host where a unit runs the old agent, which answers for wg0, and wg0 has three peers.
func newTree(t *testing.T) *tree {
	t.Helper()
	h := &tree{T: t, root: t.TempDir(), fake: enginetest.NewFake()}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := h.handler.Load(); f != nil {
			(*f).ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(web.Close)
	at, err := url.Parse(web.URL)
	require.NoError(t, err)
	h.port, err = strconv.Atoi(at.Port())
	require.NoError(t, err)

	h.write(testFrom+"/main.py", "")
	h.write(testFrom+"/.env", fmt.Sprintf("WG_AGENT_SECRET='%s'\nWG_AGENT_PORT=%d\nWG_AGENT_LOG_LEVEL=warning\n", strings.ReplaceAll(testSecret, `\`, `\\`), h.port))
	h.write("/etc/systemd/system/"+testUnit, "[Service]\nWorkingDirectory="+testFrom+"\nExecStart="+testFrom+"/venv/bin/python main.py\nEnvironment=WG_AGENT_HOST=127.0.0.1\n")
	h.write("/proc/net/tcp", "")
	h.write("/proc/net/unix", "")
	h.process(oldPID, "python", "0::/system.slice/"+testUnit+"\n", "7000")
	d, err := h.fake.Create(t.Context(), engine.Interface{
		Name: "wg0", PrivateKey: enginetest.PrivateKey(t), ListenPort: 51820, MTU: 1420, Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")},
	})
	require.NoError(t, err)
	var adds engine.Changes
	for _, p := range enginetest.Peers(3) {
		adds.Peers = append(adds.Peers, engine.PeerChange{After: &p})
	}
	require.NoError(t, d.Configure(t.Context(), adds))
	h.conf("wg0", enginetest.PrivateKey(t), 0o600)
	h.systemd = &fakeSystemd{tree: h, units: map[string]systemd.State{testUnit: {Active: "inactive", Enabled: "enabled"}}}
	require.NoError(t, h.systemd.Start(t.Context(), testUnit))
	h.systemd.calls = nil
	return h
}

func (h *tree) write(path, text string) {
	h.Helper()
	require.NoError(h, os.MkdirAll(filepath.Dir(h.root+path), 0o700))
	require.NoError(h, os.WriteFile(h.root+path, []byte(text), 0o600))
}

func (h *tree) link(path, target string) {
	h.Helper()
	require.NoError(h, os.MkdirAll(filepath.Dir(h.root+path), 0o700))
	require.NoError(h, os.Symlink(target, h.root+path))
}

func (h *tree) read(path string) string {
	h.Helper()
	text, err := os.ReadFile(h.root + path)
	require.NoError(h, err)
	return string(text)
}

func (h *tree) conf(name string, key engine.SecretKey, mode os.FileMode) {
	h.Helper()
	path := "/etc/wireguard/" + name + ".conf"
	h.write(path, "[Interface]\nPrivateKey = "+key.RevealText()+"\nListenPort = 51820\n\n[Peer]\nPublicKey = "+enginetest.PeerKey(1).String()+"\n")
	require.NoError(h, os.Chmod(h.root+path, mode))
}

// process makes one that holds a socket.
func (h *tree) process(pid int, name, cgroup, inode string) {
	h.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	h.write(dir+"/comm", name+"\n")
	h.write(dir+"/cgroup", cgroup)
	h.write(dir+"/cmdline", name+"\x00main.py\x00")
	h.link(dir+"/fd/0", "/dev/null")
	h.link(dir+"/fd/3", "socket:["+inode+"]")
}

// listens makes the tables say that the socket has the agent's port; "": nobody has.
func (h *tree) listens(inode string) {
	h.Helper()
	text := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		fmt.Sprintf("   0: 0100007F:%04X 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 666 1\n", h.port)
	if inode != "" {
		text += fmt.Sprintf("   1: 00000000:%04X 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 %s 1\n", h.port, inode)
	}
	h.write("/proc/net/tcp", text)
}

func (h *tree) options() Options {
	o := Options{
		From: testFrom, Root: hostfile.Root(h.root), Executable: "/usr/local/bin/wgfleet", Devices: h.fake, Patience: 5 * time.Second,
		Backends: func(context.Context) []app.BackendProbe {
			return []app.BackendProbe{{Kind: engine.KindKernel, Err: errors.New("no module")}, {Kind: engine.KindTUN}, {Kind: engine.KindNetstack}}
		},
		Progress: func(s string) { h.progress = append(h.progress, s) },
		Now:      func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC) },
	}
	if h.systemd != nil {
		o.Systemd = h.systemd
	}
	return o
}

// files lists what is on the host but /proc.
func (h *tree) files() map[string]string {
	h.Helper()
	out := map[string]string{}
	require.NoError(h, filepath.WalkDir(h.root, func(path string, d os.DirEntry, err error) error {
		if err != nil || strings.HasPrefix(path, h.root+"/proc") {
			return err
		}
		if d.IsDir() {
			out[strings.TrimPrefix(path, h.root)] = "a folder"
		}
		if text, rerr := os.ReadFile(path); rerr == nil {
			out[strings.TrimPrefix(path, h.root)] = string(text)
		}
		return nil
	}))
	return out
}

// fakeSystemd starts stand-ins for both agents.
type fakeSystemd struct {
	*tree
	units map[string]systemd.State
	calls []string
	// fail makes a call fail, by its text; during is called in each one.
	fail   map[string]error
	during func(call string)
	ours   *server.Server
	// keepsPort: the old agent leaves something running.
	keepsPort bool
}

func (f *fakeSystemd) call(ctx context.Context, verb, unit string) error {
	call := strings.TrimSpace(verb + " " + unit)
	f.calls = append(f.calls, call)
	if f.during != nil {
		f.during(call)
	}
	return cmp.Or(ctx.Err(), f.fail[call])
}

func (f *fakeSystemd) State(ctx context.Context, unit string) (systemd.State, error) {
	s := f.units[unit]
	s.Active = cmp.Or(s.Active, "inactive")
	return s, ctx.Err()
}

func (f *fakeSystemd) Start(ctx context.Context, unit string) error {
	if err := f.call(ctx, "start", unit); err != nil {
		return err
	}
	s := f.units[unit]
	s.Active = "active"
	f.units[unit] = s
	if unit == unitName {
		return f.startOurs(ctx)
	}
	a := originaltest.New(testSecret, engine.SecretKey{})
	var handler http.Handler = a
	f.handler.Store(&handler)
	f.listens("7000")
	return nil
}

// startOurs runs our agent with the settings that the unit was given.
func (f *fakeSystemd) startOurs(ctx context.Context) error {
	env := systemd.ParseEnvironment(f.read(envPath))
	secret, _ := env.Get("WG_AGENT_SECRET")
	s, err := server.New(server.Options{
		Backend: f.fake, Attach: f.fake, ConfDir: f.root + confDir, DataDir: filepath.Join(f.root, dataDir, app.AgentFolder), Secret: agent.Secret(secret),
		Up: []string{server.UpNone}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	f.ours = s
	handler := s.Handler()
	f.handler.Store(&handler)
	return nil
}

func (f *fakeSystemd) Stop(ctx context.Context, unit string) error {
	if err := f.call(ctx, "stop", unit); err != nil {
		return err
	}
	s := f.units[unit]
	s.Active = "inactive"
	f.units[unit] = s
	f.handler.Store(nil)
	if !f.keepsPort {
		f.listens("")
	}
	if unit == unitName && f.ours != nil {
		ours := f.ours
		f.ours = nil
		return ours.Close(ctx, false)
	}
	return nil
}

func (f *fakeSystemd) enable(ctx context.Context, verb, unit string) error {
	if err := f.call(ctx, verb, unit); err != nil {
		return err
	}
	s := f.units[filepath.Base(unit)]
	s.Enabled = verb + "d"
	f.units[filepath.Base(unit)] = s
	return nil
}

func (f *fakeSystemd) Enable(ctx context.Context, unit string) error {
	return f.enable(ctx, "enable", unit)
}

func (f *fakeSystemd) Disable(ctx context.Context, unit string) error {
	return f.enable(ctx, "disable", unit)
}

func (f *fakeSystemd) Reload(ctx context.Context) error { return f.call(ctx, "reload", "") }
