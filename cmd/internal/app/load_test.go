package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/server"
)

const goodSecret = "0123456789abcdef0123456789abcdef"

// enough is the environment with which an agent starts.
var enough = []string{"WG_AGENT_SECRET=" + goodSecret, "HOME=/home/nobody"}

func flagsOf(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	f := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(f)
	require.NoError(t, f.Parse(args))
	return f
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestDefaults(t *testing.T) {
	s, err := Load(Sources{Environ: enough, Flags: flagsOf(t)})
	require.NoError(t, err)
	require.True(t, s.RunAgent)
	require.False(t, s.RunPanel)
	require.Equal(t, BackendAuto, s.Backend)
	require.Equal(t, []string{server.UpAuto}, s.Up)
	require.Equal(t, slog.LevelInfo, s.LogLevel)
	require.Zero(t, s.RateLimit)
	require.Equal(t, AgentSettings{
		Host: "0.0.0.0", Port: 8080, Secret: goodSecret, MaxTimestampAge: 300 * time.Second,
		Hooks: server.HooksLocal, ExposeSecrets: server.ExposeSecure, Metrics: server.MetricsOpen,
	}, s.Agent)
	require.Equal(t, PanelSettings{Host: "127.0.0.1", Port: 10086, EventsKeep: 90 * 24 * time.Hour, EventsMax: 100_000}, s.Panel)
}

// Every setting can be given by flag, variable and YAML key, and the flag wins over the variable,
// that over the file, that over the default.
func TestPrecedence(t *testing.T) {
	for _, s := range settings {
		t.Run(s.key, func(t *testing.T) {
			low, mid, high := "low", "mid", "high"
			if s.kind == toggle {
				low, mid, high = "true", "false", "true"
			}
			path := write(t, "c.yaml", s.key+": '"+low+"'\n")
			nested := write(t, "n.yaml", nest(s.key, low))
			flags := flagsOf(t, "--"+s.flag+"="+high)

			r, err := read(nil, flagsOf(t))
			require.NoError(t, err)
			require.Equal(t, s.def, r.values[s.key])
			require.Empty(t, r.origin[s.key])

			for _, file := range []string{path, nested} {
				r, err = read(nil, flagsOf(t, "--config", file))
				require.NoError(t, err)
				require.Equal(t, low, r.values[s.key])
				require.Equal(t, s.key+" in "+file, r.origin[s.key])
			}
			r, err = read([]string{s.env + "=" + mid, configEnv + "=" + path}, flagsOf(t))
			require.NoError(t, err)
			require.Equal(t, mid, r.values[s.key])
			require.Equal(t, s.env, r.origin[s.key])

			r, err = read([]string{s.env + "=" + mid, configEnv + "=" + path}, flags)
			require.NoError(t, err)
			require.Equal(t, high, r.values[s.key])
			require.Equal(t, "--"+s.flag, r.origin[s.key])
		})
	}
}

// nest writes a.b as two levels of YAML.
func nest(key, value string) string {
	for i := range key {
		if key[i] == '.' {
			return key[:i] + ":\n  " + key[i+1:] + ": '" + value + "'\n"
		}
	}
	return key + ": '" + value + "'\n"
}

func TestYAMLTypes(t *testing.T) {
	path := write(t, "c.yaml", `
log_level:
up: [wg0, wg1]
agent: {port: 8081, require_nonce: true, secret: "`+goodSecret+`"}
panel: {trusted_proxies: [10.0.0.0/8, "::1"], enabled: yes}
`)
	s, err := Load(Sources{Environ: []string{"HOME=/x"}, Flags: flagsOf(t, "--config", path)})
	require.ErrorContains(t, err, `panel.enabled in `+path+`: "yes" is not true or false`)
	require.Equal(t, []string{"wg0", "wg1"}, s.Up)
	require.Equal(t, 8081, s.Agent.Port)
	require.True(t, s.Agent.RequireNonce)
	require.Equal(t, slog.LevelInfo, s.LogLevel, "a key without a value is not given")
	require.Equal(t, agent.Secret(goodSecret), s.Agent.Secret)
	require.Len(t, s.Panel.TrustedProxies, 2)
}

func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"unknown key":        {"agent: {prot: 1}", `there is no setting "agent.prot"`},
		"unknown section":    {"agnet: {port: 1}", `there is no setting "agnet.port"`},
		"unquoted secret":    {"agent: {secret: 0123456789012345}", "put the value of agent.secret in quotes"},
		"a list at the root": {"- " + goodSecret, "not YAML settings"},
		"not YAML":           {"a: b: " + goodSecret, "not YAML settings"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "c.yaml", c.content)
			_, err := Load(Sources{Environ: enough, Flags: flagsOf(t, "--config", path)})
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
			require.NotContains(t, err.Error(), goodSecret)
			require.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := Load(Sources{Environ: enough, Flags: flagsOf(t, "--config", "/does/not/exist.yaml")})
	require.ErrorContains(t, err, "/does/not/exist.yaml")
}

// Each bad value is told in one sentence that names what gave it.
func TestBadValues(t *testing.T) {
	for _, c := range []struct{ env, value, want string }{
		{"WGFLEET_BACKEND", "docker", `"docker" is not known: expected auto, kernel, tun, netstack`},
		{"WGFLEET_BACKEND", "", `"" is not known`},
		{"WGFLEET_UP", "", "nothing is named"},
		{"WGFLEET_UP", "wg0,../etc", "is not an interface name"},
		{"WGFLEET_UP", "wg0,all", "reserved name"},
		{"WG_AGENT_LOG_LEVEL", "TRACE", "expected DEBUG, INFO, WARNING, ERROR"},
		{"WG_AGENT_LOG_LEVEL", "", "expected DEBUG, INFO, WARNING, ERROR"},
		{"WG_AGENT_LOG_LEVEL", "info", "expected DEBUG, INFO, WARNING, ERROR"},
		{"WGFLEET_EVENTS_KEEP", "99999999999999d", "is not a time from 1h to 3650d"},
		{"WGFLEET_EVENTS_KEEP", "1m", "is not a time from 1h to 3650d"},
		{"WGFLEET_EVENTS_MAX", "1", "expected 1000 to 10000000"},
		{"WGFLEET_RATE_LIMIT", "0", "above 0 to 1000000: write off for none"},
		{"WGFLEET_RATE_LIMIT", "NaN", "above 0 to 1000000: write off for none"},
		{"WGFLEET_RATE_LIMIT", "none", "above 0 to 1000000: write off for none"},
		{"WGFLEET_NO_AGENT", "maybe", "not true or false"},
		{"WGFLEET_NO_AGENT", "true", "nothing is left to run"},
		{"WG_AGENT_PORT", "70000", `"70000" is not a port: expected 0 to 65535`},
		{"WG_AGENT_PORT", "-1", "is not a port"},
		{"WG_AGENT_PORT", "http", "is not a port"},
		{"WG_AGENT_PORT", "", "is not a port"},
		{"WGFLEET_PANEL_PORT", "65536", "is not a port"},
		{"WG_AGENT_SECRET", "", "the shared secret is empty: make one with `wgfleet secret`"},
		{"WG_AGENT_SECRET", " \t ", "the shared secret is empty: make one with `wgfleet secret`"},
		{"WGFLEET_RATE_LIMIT", "1e300", "is not a number of requests a second from above 0"},
		{"WG_AGENT_SECRET", publicSecret, "everyone knows: make one with `wgfleet secret`"},
		{"WG_AGENT_SECRET_PREVIOUS", publicSecret, "everyone knows"},
		{"WG_AGENT_SECRET_FILE", "/does/not/exist", "WG_AGENT_SECRET_FILE is given as well"},
		{"WG_AGENT_SECRET_PREVIOUS_FILE", "/does/not/exist", "no such file"},
		{"MAX_TIMESTAMP_AGE", "0", "is not a number of seconds: expected 1 to 86400"},
		{"MAX_TIMESTAMP_AGE", "5m", "is not a number of seconds"},
		{"WG_AGENT_REQUIRE_NONCE", "2", "not true or false"},
		{"WG_AGENT_HOOKS", "yes", "expected local, allow, deny"},
		{"WG_AGENT_EXPOSE_SECRETS", "no", "expected secure, always, never"},
		{"WG_AGENT_METRICS", "on", "expected open, full, signed, off"},
		{"WG_AGENT_TLS_CERT", "c.pem", "WG_AGENT_TLS_KEY must be given as well"},
		{"WG_AGENT_TLS_KEY", "k.pem", "WG_AGENT_TLS_CERT must be given as well"},
		{"WG_AGENT_TLS_CLIENT_CA", "ca.pem", "only where WG_AGENT_TLS_CERT is given too"},
		{"WGFLEET_ADMIN_KEY", "short", "shorter than 16 characters"},
		{"WGFLEET_ADMIN_KEY", "", "shorter than 16 characters"},
		{"WGFLEET_STORE", "etcd://x", `"etcd://x" is not known: expected badger`},
		{"WGFLEET_TRUSTED_PROXIES", "10.0.0.0/8,proxy", `"proxy" is not an address or a prefix`},
		{"WGFLEET_NOTIFY_ALLOW", "10.0.0.0/8,http://hooks", `"http://hooks" is not an address, a prefix like 10.0.0.0/8 or a host name`},
		{"WGFLEET_GATEWAY", "maybe", "not true or false"},
		{"WGFLEET_GATEWAY_ALLOW", "10.0.0.0/8; example.test", `"example.test" is not one: expected any, an address or a prefix`},
		{"WGFLEET_GATEWAY_DENY", "any tcp http", `"http" is not one`},
		{"WGFLEET_GATEWAY_LIMIT", "speed=1", `"speed=1" is not one: expected connections=`},
		{"WGFLEET_GATEWAY_MEMORY", "much", `"much" is no number of them`},
		{"WGFLEET_PANEL_TLS_KEY", "k.pem", "WGFLEET_PANEL_TLS_CERT must be given as well"},
		{"WGFLEET_AGENT_CLIENT_CERT", "c.pem", "WGFLEET_AGENT_CLIENT_KEY must be given as well"},
	} {
		t.Run(c.env+"="+c.value, func(t *testing.T) {
			environ := append([]string{c.env + "=" + c.value}, enough...)
			if c.env == "WG_AGENT_SECRET" {
				environ = environ[:1]
			}
			_, err := Load(Sources{Environ: environ})
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n", "one sentence")
			require.Regexp(t, `^WG|^MAX`, err.Error())
		})
	}
}

func TestMissingSecret(t *testing.T) {
	home := []string{"HOME=/x"}
	_, err := Load(Sources{Environ: home})
	require.EqualError(t, err, "WG_AGENT_SECRET: no shared secret is set: make one with `wgfleet secret` "+
		"and set WG_AGENT_SECRET on this host and on the panel's node")
	s, err := Load(Sources{Environ: home, Flags: flagsOf(t, "--panel")})
	require.NoError(t, err, "the panel makes one")
	require.Empty(t, s.Agent.Secret)
	_, err = Load(Sources{Environ: home, Flags: flagsOf(t, "--panel", "--no-agent")})
	require.NoError(t, err, "a panel alone needs none")
	_, err = Load(Sources{Environ: append(home, "WG_AGENT_SECRET="), Flags: flagsOf(t, "--panel")})
	require.ErrorContains(t, err, "the shared secret is empty", "given, and bad")
}

func TestSecretFiles(t *testing.T) {
	path := write(t, "secret", goodSecret+"\n")
	s, err := Load(Sources{Environ: []string{"HOME=/x"}, Flags: flagsOf(t,
		"--secret-file", path, "--secret-previous-file", path, "--admin-key-file", path)})
	require.NoError(t, err)
	require.Equal(t, agent.Secret(goodSecret), s.Agent.Secret)
	require.Equal(t, agent.Secret(goodSecret), s.Agent.PreviousSecret)
	require.Equal(t, APIKey(goodSecret), s.Panel.AdminKey)
}

func TestRateLimit(t *testing.T) {
	for value, want := range map[string]rate.Limit{"": 0, "off": rate.Inf, "2.5": 2.5} {
		s, err := Load(Sources{Environ: append([]string{"WGFLEET_RATE_LIMIT=" + value}, enough...)})
		require.NoError(t, err)
		require.Equal(t, want, s.RateLimit)
	}
}

func TestDotenv(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte(`# a comment
export WG_AGENT_SECRET="quoted `+goodSecret+`"
WG_AGENT_PORT=8099 # and another
WG_AGENT_LOG_LEVEL='DEBUG'
MAX_TIMESTAMP_AGE=60
`), 0o600))
	s, err := Load(Sources{Environ: []string{"HOME=/x", "MAX_TIMESTAMP_AGE=90"}, Dir: dir})
	require.NoError(t, err)
	require.Equal(t, agent.Secret("quoted "+goodSecret), s.Agent.Secret)
	require.Equal(t, 8099, s.Agent.Port)
	require.Equal(t, slog.LevelDebug, s.LogLevel)
	require.Equal(t, 90*time.Second, s.Agent.MaxTimestampAge, "a variable that is set is never overridden")

	_, err = Load(Sources{Environ: []string{"HOME=/x", "WG_AGENT_SECRET="}, Dir: dir})
	require.ErrorContains(t, err, "the shared secret is empty", "set and empty is set")

	s, err = Load(Sources{Environ: []string{"HOME=/x"}, Dir: dir, Flags: flagsOf(t, "--agent-port", "1")})
	require.NoError(t, err)
	require.Equal(t, 1, s.Agent.Port)

	require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte("A=1\n\nnot a variable "+goodSecret), 0o600))
	_, err = Load(Sources{Environ: enough, Dir: dir})
	require.ErrorContains(t, err, ".env line 3 is not KEY=VALUE")
	require.NotContains(t, err.Error(), goodSecret)
}

func TestDataDir(t *testing.T) {
	for _, c := range []struct {
		environ []string
		root    bool
		want    string
	}{
		{[]string{"STATE_DIRECTORY=/run/a:/run/b", "XDG_STATE_HOME=/s"}, true, "/run/a"},
		{[]string{"XDG_STATE_HOME=/s", "HOME=/h"}, true, "/var/lib/wgfleet"},
		{[]string{"XDG_STATE_HOME=/s", "HOME=/h"}, false, "/s/wgfleet"},
		{[]string{"XDG_STATE_HOME=relative", "HOME=/h"}, false, "/h/.local/state/wgfleet"},
		{[]string{"HOME=/h"}, false, "/h/.local/state/wgfleet"},
		{nil, false, ""},
	} {
		require.Equal(t, c.want, defaultDataDir(c.environ, c.root), c.environ)
	}
}

// The sample file names every setting and says nothing but the defaults.
func TestSampleFile(t *testing.T) {
	want := sample()
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile("sample.yaml", []byte(want), 0o644))
	}
	got, err := os.ReadFile("sample.yaml")
	require.NoError(t, err)
	require.Equal(t, want, string(got), "refresh it: UPDATE=1 go test ./cmd/internal/app -run TestSampleFile")

	r, err := read(nil, flagsOf(t, "--config", "sample.yaml"))
	require.NoError(t, err)
	for _, s := range settings {
		require.Equal(t, s.def, r.values[s.key], s.key)
		require.Contains(t, want, s.env)
	}
}

func TestSettingsAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings {
		for _, name := range []string{s.key, s.env, "--" + s.flag} {
			require.False(t, seen[name], name)
			seen[name] = true
		}
		require.NotEmpty(t, s.help)
	}
}
