package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
)

// minSecret is the length in bytes below which wgfleet calls a secret short.
const minSecret = 16

// answerWithin is how long one request to an agent may take.
const answerWithin = 10 * time.Second

// variables are all that the original reads.
var variables = []string{"WG_AGENT_SECRET", "WG_AGENT_HOST", "WG_AGENT_PORT", "WG_AGENT_LOG_LEVEL", "MAX_TIMESTAMP_AGE"}

// findUnit looks for the unit that runs something in the old agent's folder.
func (p *Plan) findUnit(ctx context.Context) error {
	all, err := p.o.services()
	if err != nil {
		return err
	}
	folders := p.folders()
	found := slices.DeleteFunc(all, func(s service) bool { return !s.runsIn(folders...) })
	switch len(found) {
	case 0:
		switch _, err := os.Stat(filepath.Join(p.o.at(p.From), "main.py")); {
		case errors.Is(err, fs.ErrNotExist):
			p.block("%s holds no main.py and no unit runs from it: name the folder of the original agent with --from", p.From)
		case err != nil:
			return fmt.Errorf("look for the old agent: %w", err)
		default:
			p.notice("no unit of systemd runs the old agent: there is none to stop")
		}
		return nil
	case 1:
	default:
		var names []string
		for _, s := range found {
			names = append(names, s.name)
		}
		p.block("%s run from %s: remove those that are not the agent's", strings.Join(names, ", "), p.From)
		return nil
	}
	s := found[0]
	state, err := p.state(ctx, s.name)
	if err != nil {
		return err
	}
	p.Unit = &Unit{Name: s.name, Active: state.Active, Enabled: state.Enabled, state: state, service: s}
	if p.o.Systemd == nil {
		return nil
	}
	if !state.IsActive() {
		p.notice("%s is not running: wgfleet will be", s.name)
	}
	switch state.Enabled {
	case "enabled", "disabled":
	case "transient":
		p.block("%s was made by systemd-run and is gone once it stops: write a unit file for it, so that there is a way back", s.name)
	default:
		p.warn("%s is %s, so it can't be disabled: see that nothing starts it again", s.name, state.Enabled)
	}
	return nil
}

// folders are the names of the old agent's folder.
func (p *Plan) folders() []string {
	out := []string{p.From}
	if target, err := filepath.EvalSymlinks(p.o.at(p.From)); err == nil && target != p.o.at(p.From) {
		out = append(out, strings.TrimPrefix(target, strings.TrimSuffix(string(p.o.Root), "/")))
	}
	return out
}

// readSettings finds what the old agent runs with: its unit's environment, then .env beside main.py
// or above, as python-dotenv looks for it.
func (p *Plan) readSettings(context.Context) error {
	var env systemd.Environment
	if p.Unit != nil {
		var problems []string
		env, problems = p.o.environ(p.Unit.service)
		p.Blockers = append(p.Blockers, problems...)
	}
	for dir := p.From; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(p.o.at(dir), ".env"))
		if err == nil {
			if env, err = app.Dotenv(env, p.o.at(dir)); err != nil {
				p.block("%v", err)
				return nil
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for _, name := range variables {
		value, given := env.Get(name)
		if !given {
			continue
		}
		if name == "WG_AGENT_LOG_LEVEL" { // the original takes any case
			value = strings.ToUpper(value)
		}
		if !utf8.ValidString(value) {
			p.block("%s is not UTF-8, which systemd can't keep: set another", name)
		}
		p.environ.Set(name, value)
	}
	p.judgeSettings()
	return nil
}

// judgeSettings lets wgfleet say what it does not take.
func (p *Plan) judgeSettings() {
	s, err := app.Load(app.Sources{Environ: append(slices.Clone(p.environ), "WGFLEET_DATA_DIR="+dataDir)})
	if err != nil {
		p.Blockers = append(p.Blockers, strings.Split(err.Error(), "\n")...)
	}
	level := map[slog.Level]string{slog.LevelDebug: "DEBUG", slog.LevelInfo: "INFO", slog.LevelWarn: "WARNING", slog.LevelError: "ERROR"}
	p.Settings = Settings{
		Host: s.Agent.Host, Port: s.Agent.Port, LogLevel: level[s.LogLevel],
		MaxTimestampAge: int(s.Agent.MaxTimestampAge / time.Second),
	}
	p.secret = s.Agent.Secret
	if err == nil && s.Agent.Port == 0 {
		p.block("WG_AGENT_PORT is 0, a port that nobody knows: set another")
	}
	if p.secret != "" && len(p.secret) < minSecret {
		p.warn("the shared secret has only %d bytes: make a longer one with `wgfleet secret`, here and on the panel", len(p.secret))
	}
}

// findPort sees who has the agent's port: only the old agent may.
func (p *Plan) findPort(context.Context) error {
	port := p.Settings.Port
	if port == 0 { // the settings are not valid
		return nil
	}
	sockets, err := p.o.listeners(port)
	if err != nil {
		return err
	}
	if p.holder, err = p.o.holder(sockets); err != nil {
		return err
	}
	switch {
	case len(sockets) == 0:
		if p.Unit != nil && p.Unit.state.IsActive() {
			p.warn("%s is %s, but nothing listens on port %d", p.Unit.Name, p.Unit.Active, port)
		}
	case p.holder == nil:
		p.block("port %d is in use by a process that can't be seen from here: stop what listens there", port)
	case p.Unit != nil && p.holder.of(p.Unit.Name):
	case p.holder.runsIn(p.folders()...):
		p.block("the old agent runs as %v, which no unit of systemd started: stop it first", p.holder)
	default:
		p.block("port %d is in use by %v, which is not the old agent: stop it, or set another WG_AGENT_PORT", port, p.holder)
	}
	return nil
}

// askOld makes sure that the running agent takes the secret that was found, as the panel has that.
func (p *Plan) askOld(ctx context.Context) error {
	i := slices.IndexFunc(p.Interfaces, func(i Interface) bool { return i.Up })
	if p.holder == nil || i < 0 || len(p.Blockers) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	c, err := p.client()
	if err != nil {
		return err
	}
	switch _, err = c.Dump(ctx, p.Interfaces[i].Name, client.Query{}); {
	case errors.Is(err, context.Canceled):
		return err
	case err == nil:
	default:
		if e, ok := errors.AsType[*client.Error](err); ok && e.Kind == client.Unauthorized {
			p.block("the running agent does not take the secret that its files say: restart %s, or put the right one into %s/.env", p.Unit.Name, p.From)
			return nil
		}
		p.warn("the old agent does not answer as it should: %v", err)
	}
	return nil
}

// client asks the agent of this host, past any proxy.
func (p *Plan) client() (*client.Client, error) {
	t, err := client.NewTransport(client.TLS{})
	if err != nil {
		return nil, err
	}
	t.Proxy, t.DisableKeepAlives = nil, true
	return client.New(client.Options{BaseURL: p.Settings.url(), Secret: p.secret, Transport: t})
}

// url is how this host reaches the agent.
func (s Settings) url() string {
	host := s.Host
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(s.Port))
}
