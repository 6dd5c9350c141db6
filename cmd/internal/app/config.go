package app

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/notify"
)

// Settings are validated: every value is in range and every needed one is there.
type Settings struct {
	RunPanel bool
	RunAgent bool
	DataDir  string
	ConfDir  string
	SeedDir  string // "": nothing to begin with
	UAPIDir  string // "": no sockets with netstack
	Backend  string // BackendAuto or an engine.Kind
	Up       []string
	// DownOnExit takes the kernel's interfaces down when the process ends; the others go in any case.
	DownOnExit bool
	LogLevel   slog.Level
	RateLimit  rate.Limit // a second; 0: each role's default; rate.Inf: none
	Gateway    GatewaySettings
	Agent      AgentSettings
	Panel      PanelSettings
}

// maxRateLimit is in requests a second; who wants more wants none.
const maxRateLimit = 1e6

// maxAge bounds what may be kept; it is far below what a Duration holds.
const maxAge = 3650 * 24 * time.Hour

// BackendAuto takes the best backend that works here.
const BackendAuto = "auto"

// AgentSettings are those of the agent role.
type AgentSettings struct {
	Host            string
	Port            int          // 0: a free one
	Secret          agent.Secret // "" only with the panel, which makes one
	PreviousSecret  agent.Secret // "" for none
	MaxTimestampAge time.Duration
	RequireNonce    bool
	Hooks           server.Policy
	ExposeSecrets   server.Policy
	Metrics         server.Policy
	TLS             TLSFiles
}

// PanelSettings are those of the panel role.
type PanelSettings struct {
	Host           string
	Port           int    // 0: a free one
	AdminKey       APIKey // "": made at the first start
	MasterKeyFile  string // "": in the data folder
	TrustedProxies []netip.Prefix
	TLS            TLSFiles
	AgentCA        string // "": the system's
	ClientCert     string
	ClientKey      string
	EventsKeep     time.Duration
	EventsMax      int
	NotifyAllow    notify.Allow
}

// TLSFiles name PEM files. Cert "" means no TLS.
type TLSFiles struct {
	Cert     string
	Key      string
	ClientCA string
}

// APIKey is a key of the panel's API; it redacts itself.
type APIKey string

// String redacts.
func (APIKey) String() string { return "(secret)" }

// GoString redacts.
func (APIKey) GoString() string { return "(secret)" }

// problems collects one sentence per bad value.
type problems struct {
	raw
	errs []error
}

func (p *problems) add(key, format string, args ...any) {
	name := p.origin[key]
	if name == "" {
		name = settingOf(key).env
	}
	p.errs = append(p.errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
}

func (p *problems) oneOf(key string, allowed ...string) string {
	for _, a := range allowed {
		if p.values[key] == a {
			return a
		}
	}
	p.add(key, "%q is not known: expected %s", p.values[key], strings.Join(allowed, ", "))
	return ""
}

func (p *problems) number(key string, lowest, highest int, what string) int {
	n, err := strconv.Atoi(p.values[key])
	if err != nil || n < lowest || n > highest {
		p.add(key, "%q is not %s: expected %d to %d", p.values[key], what, lowest, highest)
		return 0
	}
	return n
}

// age reads a time of at least an hour, in days as well.
func (p *problems) age(key string) time.Duration {
	text := p.values[key]
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(n, 10_000)) * 24 * time.Hour
	}
	if err != nil || d < time.Hour || d > maxAge {
		p.add(key, "%q is not a time from 1h to 3650d, for example 90d or 36h", text)
	}
	return d
}

func (p *problems) toggle(key string) bool {
	b, err := strconv.ParseBool(p.values[key])
	if err != nil {
		p.add(key, "%q is not true or false", p.values[key])
	}
	return b
}

// pair wants both or none of two settings.
func (p *problems) pair(a, b string) {
	if (p.values[a] == "") != (p.values[b] == "") {
		if p.values[a] == "" {
			a, b = b, a
		}
		p.add(a, "%s must be given as well", settingOf(b).env)
	}
}

// settings validates the texts.
func (r raw) settings(environ []string) (Settings, error) {
	p := &problems{raw: r}
	s := Settings{
		RunPanel:   p.toggle(keyPanel),
		RunAgent:   !p.toggle(keyNoAgent),
		SeedDir:    r.values[keySeedDir],
		UAPIDir:    r.values[keyUAPIDir],
		Backend:    p.oneOf(keyBackend, BackendAuto, string(engine.KindKernel), string(engine.KindTUN), string(engine.KindNetstack)),
		Up:         p.up(),
		DownOnExit: p.toggle(keyDownOnExit),
		LogLevel:   p.logLevel(),
		RateLimit:  p.rateLimit(),
	}
	if !s.RunPanel && !s.RunAgent {
		p.add(keyNoAgent, "nothing is left to run without the agent: add --panel")
	}
	p.folders(&s, environ)
	s.Gateway = p.gateway()
	s.Agent = p.agent(s)
	s.Panel = p.panel()
	p.oneOf(keyStore, "badger")
	return s, errors.Join(p.errs...)
}

func (p *problems) agent(s Settings) AgentSettings {
	a := AgentSettings{
		Host:            p.values[keyHost],
		Port:            p.number(keyPort, 0, math.MaxUint16, "a port"),
		MaxTimestampAge: time.Duration(p.number(keyMaxAge, 1, 86400, "a number of seconds")) * time.Second,
		RequireNonce:    p.toggle(keyRequireNonce),
		Hooks:           server.Policy(p.oneOf(keyHooks, string(server.HooksLocal), string(server.HooksAllow), string(server.HooksDeny))),
		ExposeSecrets:   server.Policy(p.oneOf(keyExpose, string(server.ExposeSecure), string(server.ExposeAlways), string(server.ExposeNever))),
		Metrics: server.Policy(p.oneOf(keyMetrics, string(server.MetricsOpen), string(server.MetricsFull),
			string(server.MetricsSigned), string(server.MetricsOff))),
		TLS: TLSFiles{Cert: p.values[keyAgentTLSCert], Key: p.values[keyAgentTLSKey], ClientCA: p.values[keyAgentClientCA]},
	}
	p.pair(keyAgentTLSCert, keyAgentTLSKey)
	if a.TLS.ClientCA != "" && a.TLS.Cert == "" {
		p.add(keyAgentClientCA, "clients can show certificates only where %s is given too", settingOf(keyAgentTLSCert).env)
	}
	if s.RunAgent {
		a.Secret = p.sharedSecret(keySecret, keySecretFile, !s.RunPanel)
		a.PreviousSecret = p.sharedSecret(keySecretPrevious, keyPreviousFile, false)
	}
	return a
}

func (p *problems) panel() PanelSettings {
	key, given := p.secretText(keyAdminKey, keyAdminKeyFile)
	if given && len(key) < minSecret {
		p.add(keyAdminKey, "the administrator's key is shorter than %d characters: make one with `wgfleet secret`", minSecret)
	}
	p.pair(keyPanelTLSCert, keyPanelTLSKey)
	p.pair(keyClientCert, keyClientKey)
	return PanelSettings{
		Host:           p.values[keyPanelHost],
		Port:           p.number(keyPanelPort, 0, math.MaxUint16, "a port"),
		AdminKey:       APIKey(key),
		MasterKeyFile:  p.values[keyMasterKeyFile],
		TrustedProxies: p.proxies(),
		TLS:            TLSFiles{Cert: p.values[keyPanelTLSCert], Key: p.values[keyPanelTLSKey]},
		AgentCA:        p.values[keyAgentCA],
		ClientCert:     p.values[keyClientCert],
		ClientKey:      p.values[keyClientKey],
		EventsKeep:     p.age(keyEventsKeep),
		EventsMax:      p.number(keyEventsMax, 1000, 10_000_000, "a number of events"),
		NotifyAllow:    p.notifyAllow(),
	}
}

func (p *problems) up() []string {
	names := splitList(p.values[keyUp])
	switch {
	case len(names) == 0:
		p.add(keyUp, "nothing is named: expected auto, all, none or a comma list of interface names")
	case len(names) == 1 && (names[0] == server.UpAuto || names[0] == server.UpAll || names[0] == server.UpNone):
		return names
	}
	for _, n := range names {
		if err := engine.ValidateName(n); err != nil {
			p.add(keyUp, "%v", err)
		}
	}
	return names
}

func (p *problems) logLevel() slog.Level {
	levels := map[string]slog.Level{"DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "ERROR": slog.LevelError}
	return levels[p.oneOf(keyLogLevel, "DEBUG", "INFO", "WARNING", "ERROR")]
}

func (p *problems) rateLimit() rate.Limit {
	switch v := p.values[keyRateLimit]; v {
	case "":
		return 0
	case "off":
		return rate.Inf
	default:
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || !(n > 0 && n <= maxRateLimit) {
			p.add(keyRateLimit, "%q is not a number of requests a second from above 0 to %d: write off for none", v, int(maxRateLimit))
		}
		return rate.Limit(n)
	}
}

func (p *problems) proxies() []netip.Prefix {
	var out []netip.Prefix
	for _, v := range splitList(p.values[keyTrustedProxies]) {
		prefix, err := netip.ParsePrefix(v)
		if addr, aerr := netip.ParseAddr(v); aerr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			p.add(keyTrustedProxies, "%q is not an address or a prefix like 10.0.0.0/8", v)
			continue
		}
		out = append(out, prefix)
	}
	return out
}

func (p *problems) notifyAllow() notify.Allow {
	a, err := notify.ParseAllow(splitList(p.values[keyNotifyAllow]))
	if err != nil {
		p.add(keyNotifyAllow, "%v", err)
	}
	return a
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// folders chooses the data and configuration folders where none are given.
func (p *problems) folders(s *Settings, environ []string) {
	root := os.Geteuid() == 0
	s.DataDir = p.values[keyDataDir]
	if s.DataDir == "" {
		s.DataDir = defaultDataDir(environ, root)
	}
	if s.DataDir == "" {
		p.add(keyDataDir, "no data folder: HOME is not set either, name a folder")
		return
	}
	if abs, err := filepath.Abs(s.DataDir); err == nil {
		s.DataDir = abs
	}
	switch s.ConfDir = p.values[keyConfDir]; {
	case s.ConfDir != "":
	case root:
		s.ConfDir = "/etc/wireguard"
	default:
		s.ConfDir = filepath.Join(s.DataDir, "wireguard")
	}
}

// DataDir returns the data folder that `wgfleet serve` takes here without being told.
func DataDir(environ []string) string {
	if dir, ok := lookup(environ, settingOf(keyDataDir).env); ok && dir != "" {
		return dir
	}
	return defaultDataDir(environ, os.Geteuid() == 0)
}

func defaultDataDir(environ []string, root bool) string {
	// systemd.exec(5): a colon-separated list where the unit names several.
	if list, _ := lookup(environ, "STATE_DIRECTORY"); list != "" {
		dir, _, _ := strings.Cut(list, ":")
		return dir
	}
	if root {
		return "/var/lib/wgfleet"
	}
	if dir, _ := lookup(environ, "XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "wgfleet")
	}
	if home, _ := lookup(environ, "HOME"); home != "" {
		return filepath.Join(home, ".local", "state", "wgfleet")
	}
	return ""
}
