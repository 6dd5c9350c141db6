package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func (h *tree) plan() *Plan {
	h.Helper()
	p, err := Inspect(h.Context(), h.options())
	require.NoError(h, err)
	return p
}

func TestPlanChangesNothing(t *testing.T) {
	h := newTree(t)
	before := h.files()
	p := h.plan()
	require.Empty(t, p.Blockers)
	require.Empty(t, p.Warnings)
	require.Equal(t, Settings{Host: "127.0.0.1", Port: h.port, LogLevel: "WARNING", MaxTimestampAge: 300}, p.Settings)
	require.Equal(t, engine.KindTUN, p.Backend)
	require.Equal(t, []Interface{{Name: "wg0", Up: true, Kind: "userspace", Peers: 3, File: "/etc/wireguard/wg0.conf"}}, p.Interfaces)
	require.Equal(t, []string{
		"keep a record of what is here in /var/lib/wgfleet/migration.json, for --undo",
		"write the settings to /etc/wgfleet/wgfleet.env, for root alone",
		"write /etc/systemd/system/wgfleet.service, which runs `/usr/local/bin/wgfleet serve`",
		"stop wgdashboard-agent.service: the interfaces stay up",
		"start wgfleet.service and wait until it answers signed requests with the same peers; if not, go back",
		"disable wgdashboard-agent.service and enable wgfleet.service at boot",
	}, p.Steps)
	require.Equal(t, before, h.files())
	require.Empty(t, h.systemd.calls)
	text, err := json.Marshal(p)
	require.NoError(t, err)
	require.NotContains(t, string(text), "several")
	require.NotContains(t, fmt.Sprintf("%v %+v", p.Err(), p.Settings), "several")
}

// What stands in the way, and what a person should know.
func TestPlanSays(t *testing.T) {
	env := func(lines ...string) func(h *tree) {
		return func(h *tree) {
			text := "WG_AGENT_SECRET=0123456789abcdef\n"
			h.write(testFrom+"/.env", text+strings.Join(lines, "\n"))
			h.listens("")
		}
	}
	for name, c := range map[string]struct {
		prepare          func(h *tree)
		blocker, warning string
		notice           string
	}{
		"no secret":      {prepare: func(h *tree) { h.write(testFrom+"/.env", "") }, blocker: "WG_AGENT_SECRET: no shared secret is set"},
		"public secret":  {prepare: env("WG_AGENT_SECRET=change-me-in-production"), blocker: "a secret that everyone knows"},
		"short secret":   {prepare: env("WG_AGENT_SECRET=abcdefgh"), warning: "the shared secret has only 8 bytes"},
		"secret's bytes": {prepare: env("WG_AGENT_SECRET=\"0123456789abcdef\xff\""), blocker: "WG_AGENT_SECRET is not UTF-8"},
		"port":           {prepare: env("WG_AGENT_PORT=70000"), blocker: `WG_AGENT_PORT: "70000" is not a port`},
		"port 0":         {prepare: env("WG_AGENT_PORT=0"), blocker: "WG_AGENT_PORT is 0"},
		"log level":      {prepare: env("WG_AGENT_LOG_LEVEL=trace"), blocker: `WG_AGENT_LOG_LEVEL: "TRACE" is not known`},
		"age":            {prepare: env("MAX_TIMESTAMP_AGE=never"), blocker: `MAX_TIMESTAMP_AGE: "never" is not a number of seconds`},
		"dotenv":         {prepare: env("WG_AGENT_PORT='80"), blocker: "line 2 is not KEY=VALUE"},
		"somebody's port": {prepare: func(h *tree) {
			h.process(99, "nginx", "0::/system.slice/nginx.service\n", "8000")
			h.listens("8000")
		}, blocker: "is in use by nginx (process 99), which is not the old agent"},
		"unseen port": {prepare: func(h *tree) { h.listens("9000") }, blocker: "is in use by a process that can't be seen from here"},
		"by hand": {prepare: func(h *tree) {
			h.process(99, "python", "0::/user.slice\n", "8000")
			h.link("/proc/99/cwd", testFrom)
			h.listens("8000")
		}, blocker: "the old agent runs as python (process 99), which no unit of systemd started: stop it first"},
		"no unit": {prepare: func(h *tree) {
			require.NoError(h, os.Remove(h.root+"/etc/systemd/system/"+testUnit))
			h.listens("")
		}, notice: "no unit of systemd runs the old agent"},
		"no agent": {prepare: func(h *tree) {
			require.NoError(h, os.Remove(h.root+"/etc/systemd/system/"+testUnit))
			require.NoError(h, os.Remove(h.root+testFrom+"/main.py"))
		}, blocker: "holds no main.py and no unit runs from it"},
		"two units": {prepare: func(h *tree) {
			h.write("/etc/systemd/system/other.service", "[Service]\nExecStart="+testFrom+"/other\n")
		}, blocker: "other.service, wgdashboard-agent.service run from /opt/wgdashboard-agent: remove those"},
		"static": {prepare: func(h *tree) {
			h.systemd.units[testUnit] = systemd.State{Active: "active", Enabled: "static"}
		}, warning: "wgdashboard-agent.service is static, so it can't be disabled"},
		"transient": {prepare: func(h *tree) {
			h.systemd.units[testUnit] = systemd.State{Active: "active", Enabled: "transient"}
		}, blocker: "wgdashboard-agent.service was made by systemd-run and is gone once it stops"},
		"not running": {prepare: func(h *tree) {
			require.NoError(h, h.systemd.Stop(h.Context(), testUnit))
		}, notice: "wgdashboard-agent.service is not running: wgfleet will be"},
		"nobody listens": {prepare: func(h *tree) { h.listens("") }, warning: "is active, but nothing listens on port"},
		"another secret": {prepare: func(h *tree) {
			h.write(testFrom+"/.env", fmt.Sprintf("WG_AGENT_SECRET=0123456789abcdef\nWG_AGENT_PORT=%d\n", h.port))
		}, blocker: "the running agent does not take the secret that its files say: restart wgdashboard-agent.service"},
		"broken file": {prepare: func(h *tree) {
			h.write("/etc/wireguard/wg1.conf", "[Interface]\nListenPort = ninety\n")
		}, blocker: "/etc/wireguard/wg1.conf: line 2: ListenPort: expected "},
		"open file": {prepare: func(h *tree) {
			h.conf("wg0", enginetest.PrivateKey(h), 0o644)
		}, warning: "/etc/wireguard/wg0.conf holds a private key and is open to others (0644): chmod 600 /etc/wireguard/wg0.conf"},
		"odd name": {prepare: func(h *tree) { h.write("/etc/wireguard/a b.conf", "") }, warning: "/etc/wireguard/a b.conf is passed over"},
		"down": {prepare: func(h *tree) {
			h.conf("wg1", enginetest.PrivateKey(h), 0o600)
		}, notice: "wg1 is down and stays so: WGFLEET_UP=wg0 in /etc/wgfleet/wgfleet.env"},
		"no file": {prepare: func(h *tree) {
			require.NoError(h, os.Remove(h.root+"/etc/wireguard/wg0.conf"))
		}, notice: "interface wg0 has no file /etc/wireguard/wg0.conf"},
		"networkd": {prepare: func(h *tree) {
			h.write("/etc/systemd/network/50-wg.netdev", "[NetDev]\nName=wg0\nKind=wireguard\n")
		}, warning: "interface wg0 is made by systemd-networkd from /etc/systemd/network/50-wg.netdev"},
		"no boot": {prepare: func(*tree) {}, notice: "no unit brings up wg0"},
		"helper": {prepare: func(h *tree) {
			h.process(99, "wireguard-go", "0::/system.slice/"+testUnit+"\n", "8000")
			h.write("/proc/net/unix", "Num       RefCount Protocol Flags    Type St Inode Path\n"+
				"0000000000000000: 00000002 00000000 00010000 0001 01 8000 /run/wireguard/wg0.sock\n")
		}, notice: "interface wg0 is served by wireguard-go (process 99), which the old agent started: it is left running"},
		"ours":      {prepare: func(h *tree) { h.write(envPath, "") }, blocker: envPath + " exists and was not written by a migration"},
		"our unit":  {prepare: func(h *tree) { h.write(unitPath, "") }, blocker: unitPath + " exists and was not written by a migration"},
		"ours runs": {prepare: func(h *tree) { h.systemd.units[unitName] = systemd.State{Active: "active"} }, blocker: "wgfleet.service runs here already"},
		"cut short": {prepare: func(h *tree) {
			h.write(recordPath, `{"phase": "applying", "at": "2026-01-02T03:04:05Z"}`)
		}, blocker: "the migration of 2026-01-02 03:04:05 UTC was cut short"},
		"no systemd": {prepare: func(h *tree) { h.systemd = nil }, warning: "so --apply can't be used: stop the old agent and start `/usr/local/bin/wgfleet serve` in /opt/wgdashboard-agent"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTree(t)
			c.prepare(h)
			p := h.plan()
			for what, is := range map[string]struct {
				said []string
				want string
			}{"blocker": {p.Blockers, c.blocker}, "warning": {p.Warnings, c.warning}, "notice": {p.Notices, c.notice}} {
				if is.want != "" {
					require.Contains(t, strings.Join(is.said, "\n"), is.want, what)
				}
			}
			if c.blocker == "" {
				require.Empty(t, p.Blockers)
				require.NotEmpty(t, p.Steps)
				return
			}
			before := h.files()
			require.ErrorContains(t, p.Apply(t.Context()), c.blocker)
			require.Equal(t, before, h.files(), "nothing is changed")
		})
	}
}

func TestBackendsAndProgram(t *testing.T) {
	h := newTree(t)
	o := h.options()
	o.Executable = "/root/wgfleet"
	o.Backends = func(context.Context) []app.BackendProbe {
		return []app.BackendProbe{{Kind: engine.KindKernel, Err: errors.New("no module")}, {Kind: engine.KindTUN, Err: errors.New("no /dev/net/tun")}, {Kind: engine.KindNetstack}}
	}
	p, err := Inspect(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{
		"no backend that makes interfaces of this host works here: kernel: no module; tun: no /dev/net/tun",
		"this program is /root/wgfleet, and /root is no place for a service: copy it to /usr/local/bin and run it from there",
	}, p.Blockers)

	o.From = "/opt/gone"
	_, err = Inspect(t.Context(), o)
	require.EqualError(t, err, "/opt/gone is no folder: name that of the original agent with --from")
}

// .env is looked for above main.py too, and the unit's environment counts more.
func TestSettingsFromAbove(t *testing.T) {
	h := newTree(t)
	h.listens("")
	require.NoError(t, os.Rename(h.root+testFrom+"/.env", h.root+"/opt/.env"))
	h.write("/etc/systemd/system/"+testUnit+".d/x.conf", "[Service]\nEnvironment=WG_AGENT_LOG_LEVEL=ERROR\n")
	p := h.plan()
	require.Empty(t, p.Blockers)
	require.Equal(t, "ERROR", p.Settings.LogLevel)
	require.Equal(t, h.port, p.Settings.Port)
}

func TestApplyAndUndo(t *testing.T) {
	h := newTree(t)
	h.process(99, "wireguard-go", "0::/system.slice/"+testUnit+"\n", "8000")
	h.write("/proc/net/unix", "0000000000000000: 00000002 00000000 00010000 0001 01 8000 /run/wireguard/wg0.sock\n")
	before := h.files()
	p := h.plan()
	dropIn := false
	h.systemd.during = func(call string) {
		if call == "stop "+testUnit {
			dropIn = h.read("/run/systemd/system/"+testUnit+".d/wgfleet-migrate.conf") == killMode
			require.Equal(h, phaseApplying, h.record().Phase, "an interrupt from here on can be undone")
		}
	}
	require.NoError(t, p.Apply(t.Context()))
	require.True(t, dropIn, "stopping the old agent would take its helpers along")
	require.NoFileExists(t, h.root+"/run/systemd/system/"+testUnit+".d/wgfleet-migrate.conf")
	require.Equal(t, Applied, p.Outcome)
	require.Equal(t, phaseApplied, h.record().Phase)
	require.Equal(t, []string{
		"reload", "reload", "reload", "stop " + testUnit, "start " + unitName, "disable " + testUnit, "enable " + unitName,
	}, h.systemd.calls)
	env := systemd.ParseEnvironment(h.read(envPath))
	require.ElementsMatch(t, systemd.Environment{
		"WG_AGENT_SECRET=" + testSecret, "WG_AGENT_HOST=127.0.0.1", fmt.Sprintf("WG_AGENT_PORT=%d", h.port), "WG_AGENT_LOG_LEVEL=WARNING",
	}, env)
	for path, mode := range map[string]os.FileMode{envPath: 0o600, envDir: 0o700 | os.ModeDir, recordPath: 0o600, dataDir: 0o700 | os.ModeDir, unitPath: 0o644} {
		info, err := os.Stat(h.root + path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
	require.NotContains(t, strings.Join(h.progress, "\n")+h.read(recordPath)+h.read(unitPath), "several")
	require.Equal(t, Already, h.plan().Outcome)
	require.NoError(t, h.plan().Apply(t.Context()), "twice is fine")

	u, err := Undo(t.Context(), h.options())
	require.NoError(t, err)
	require.Equal(t, Undone{From: testFrom, Warnings: []string{}}, u)
	require.Equal(t, before, h.files())
	require.Equal(t, systemd.State{Active: "active", Enabled: "enabled"}, h.systemd.units[testUnit])
	require.Equal(t, systemd.State{Active: "inactive", Enabled: "disabled"}, h.systemd.units[unitName])
	u, err = Undo(t.Context(), h.options())
	require.NoError(t, err)
	require.True(t, u.Nothing)
}

func (h *tree) record() record {
	h.Helper()
	r, err := h.options().readRecord()
	require.NoError(h, err)
	return r
}

// Whatever fails, the host is as before.
func TestApplyGoesBack(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		fail   map[string]error
		during func(h *tree, call string)
		want   string
	}{
		"reload": {fail: map[string]error{"reload": boom}, want: "boom"},
		"stop":   {fail: map[string]error{"stop " + testUnit: boom}, want: "boom"},
		"a port that stays": {during: func(h *tree, _ string) {
			h.systemd.keepsPort = true
		}, want: "has stopped, but port "},
		"start":   {fail: map[string]error{"start " + unitName: boom}, want: "boom"},
		"disable": {fail: map[string]error{"disable " + testUnit: boom}, want: "boom"},
		"enable":  {fail: map[string]error{"enable " + unitName: boom}, want: "boom"},
		"an interface that went": {during: func(h *tree, call string) {
			if call == "stop "+testUnit {
				d, err := h.fake.Attach(h.Context(), "wg0")
				require.NoError(h, err)
				require.NoError(h, d.Close(h.Context()))
			}
		}, want: "interface wg0 is not there any more"},
		"somebody's file": {during: func(h *tree, call string) {
			if call == "reload" {
				h.systemd.during = nil
				h.write(unitPath, "mine")
			}
		}, want: unitPath + " exists and was not written by a migration"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTree(t)
			before := h.files()
			p := h.plan()
			h.systemd.fail = c.fail
			if name == "reload" { // going back reloads too, and may
				h.systemd.during = func(string) { h.systemd.during = func(string) { h.systemd.fail = nil } }
			}
			if c.during != nil {
				h.systemd.during = func(call string) { c.during(h, call) }
			}
			err := p.Apply(t.Context())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "; this host is as it was before")
			require.Equal(t, RolledBack, p.Outcome)
			after := h.files()
			if name == "somebody's file" {
				require.Equal(t, "mine", after[unitPath])
				require.Equal(t, []string{unitPath + " was changed since and stays: remove it by hand"}, p.Warnings)
				delete(after, unitPath)
			}
			require.Equal(t, before, after)
			require.Equal(t, systemd.State{Active: "active", Enabled: "enabled"}, h.systemd.units[testUnit])
			require.NotEqual(t, "active", h.systemd.units[unitName].Active)
			require.NotEqual(t, "enabled", h.systemd.units[unitName].Enabled)
		})
	}
}

func TestInterruptGoesBack(t *testing.T) {
	for _, at := range []string{"reload", "stop " + testUnit, "start " + unitName, "enable " + unitName} {
		t.Run(at, func(t *testing.T) {
			h := newTree(t)
			before := h.files()
			p := h.plan()
			ctx, cancel := context.WithCancel(t.Context())
			h.systemd.during = func(call string) {
				if call == at {
					cancel()
				}
			}
			require.ErrorIs(t, p.Apply(ctx), context.Canceled)
			require.Equal(t, RolledBack, p.Outcome)
			require.Equal(t, before, h.files())
			require.Equal(t, systemd.State{Active: "active", Enabled: "enabled"}, h.systemd.units[testUnit])
		})
	}
}

func TestOtherPeersGoBack(t *testing.T) {
	h := newTree(t)
	p := h.plan()
	h.systemd.during = func(call string) {
		if call == "start "+unitName { // after the devices were read
			d, err := h.fake.Attach(h.Context(), "wg0")
			require.NoError(h, err)
			peer := enginetest.Peers(1)[0]
			require.NoError(h, d.Configure(h.Context(), engine.Changes{Peers: []engine.PeerChange{{Before: &peer}}}))
		}
	}
	require.ErrorContains(t, p.Apply(t.Context()), "interface wg0 has other peers than before")
	require.Equal(t, RolledBack, p.Outcome)
}

func TestStuck(t *testing.T) {
	h := newTree(t)
	p := h.plan()
	h.systemd.fail = map[string]error{"start " + unitName: errors.New("boom"), "start " + testUnit: errors.New("bang")}
	err := p.Apply(t.Context())
	require.EqualError(t, err, "boom\ngoing back failed as well: bang\n`wgfleet migrate --undo` tries that again")
	require.Equal(t, Stuck, p.Outcome)
	require.FileExists(t, h.root+recordPath)
	h.systemd.fail = nil
	_, err = Undo(t.Context(), h.options())
	require.NoError(t, err)
	require.Equal(t, systemd.State{Active: "active", Enabled: "enabled"}, h.systemd.units[testUnit])
}

// What a person changed stays, and what lives in our process is named before it goes.
func TestUndoSaysWhatStays(t *testing.T) {
	h := newTree(t)
	require.NoError(t, h.plan().Apply(t.Context()))
	h.write(envPath, "WG_AGENT_SECRET=rotated")
	h.process(100, "wgfleet", "0::/system.slice/"+unitName+"\n", "9000")
	h.write("/proc/net/unix", "0000000000000000: 00000002 00000000 00010000 0001 01 9000 /run/wireguard/wg0.sock\n")
	u, err := Undo(t.Context(), h.options())
	require.NoError(t, err)
	require.Equal(t, []string{
		"interface wg0 lived in the process of wgfleet and went down with it: `wg-quick up wg0` brings it up",
		envPath + " was changed since and stays: remove it by hand",
	}, u.Warnings)
	require.FileExists(t, h.root+envPath)
	require.NoFileExists(t, h.root+unitPath)

	h.write(recordPath, "{")
	_, err = Undo(t.Context(), h.options())
	require.ErrorContains(t, err, recordPath+" can't be read as the record of a migration")
}

func TestWithoutSystemd(t *testing.T) {
	h := newTree(t)
	require.NoError(t, h.plan().Apply(t.Context()))
	h.systemd = nil
	_, err := Undo(t.Context(), h.options())
	require.ErrorContains(t, err, "--undo needs systemd")
	require.NoError(t, os.Remove(h.root+recordPath))
	require.NoError(t, os.Remove(h.root+envPath))
	require.NoError(t, os.Remove(h.root+unitPath))
	require.ErrorContains(t, h.plan().Apply(t.Context()), "--apply needs systemd, which does not answer here: stop the old agent")
}
