package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
	"github.com/wgfleet/wgfleet/engine"
)

// Outcome is what came of a plan.
type Outcome string

// The outcomes.
const (
	Planned    Outcome = "planned"     // nothing was changed
	Already    Outcome = "already"     // the host was moved before
	Applied    Outcome = "applied"     // the host was moved
	RolledBack Outcome = "rolled_back" // it was not, and is as before
	Stuck      Outcome = "stuck"       // it was not, and is not as before either
)

// Plan is what was found on a host, and what will be done with it. It holds no secret that is
// printed.
type Plan struct {
	From       string      `json:"from"`
	Unit       *Unit       `json:"unit"` // of the old agent; nil: none
	Settings   Settings    `json:"settings"`
	Backend    engine.Kind `json:"backend"`
	Interfaces []Interface `json:"interfaces"`
	Steps      []string    `json:"steps"`
	Notices    []string    `json:"notices"`
	Warnings   []string    `json:"warnings"`
	Blockers   []string    `json:"blockers"`
	Outcome    Outcome     `json:"outcome"`

	o       Options
	environ systemd.Environment // for the new unit
	secret  agent.Secret
	holder  *process // of the agent's port
	steps   []step
	record  record
	before  map[string]string // digests of the live interfaces' peers
}

// Unit is the one that runs the old agent.
type Unit struct {
	Name    string `json:"name"`
	Active  string `json:"active"`
	Enabled string `json:"enabled"`

	state   systemd.State
	service service
}

// Settings are those that the old agent runs with and the new one will.
type Settings struct {
	Host            string `json:"host"`
	Port            int    `json:"port"`
	LogLevel        string `json:"log_level"`
	MaxTimestampAge int    `json:"max_timestamp_age"` // seconds
}

// Inspect looks at the host and makes the plan. Nothing is changed. What stands in the way is in
// Blockers; the error is for a host that could not be looked at.
func Inspect(ctx context.Context, o Options) (*Plan, error) {
	p := &Plan{
		From: filepath.Clean(o.From), Outcome: Planned, o: o.withDefaults(),
		Interfaces: []Interface{}, Steps: []string{}, Notices: []string{}, Warnings: []string{}, Blockers: []string{},
	}
	moved, err := p.movedBefore()
	if err != nil || moved {
		return p, err
	}
	if info, err := os.Stat(p.o.at(p.From)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder: name that of the original agent with --from", p.From)
	}
	for _, look := range []func(context.Context) error{
		p.findUnit, p.readSettings, p.findInterfaces, p.findPort, p.askOld, p.chooseBackend, p.judgeInterfaces, p.judgeProgram, p.judgeOurs,
	} {
		if err := look(ctx); err != nil {
			return nil, err
		}
	}
	if p.o.Systemd == nil {
		p.warn("systemd does not answer here, so --apply can't be used: %s", p.byHand())
	}
	p.makeSteps()
	return p, nil
}

// Err is what stands in the way, one sentence a line.
func (p *Plan) Err() error {
	var errs []error
	for _, b := range p.Blockers {
		errs = append(errs, errors.New(b))
	}
	return errors.Join(errs...)
}

func (p *Plan) block(format string, args ...any) {
	p.Blockers = append(p.Blockers, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

func (p *Plan) notice(format string, args ...any) {
	p.Notices = append(p.Notices, fmt.Sprintf(format, args...))
}

// movedBefore looks for the record of an earlier run.
func (p *Plan) movedBefore() (bool, error) {
	r, err := p.o.readRecord()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p.From = r.From
	when := r.At.Format("2006-01-02 15:04:05 MST")
	if r.Phase == phaseApplied {
		p.Outcome = Already
		p.notice("this host was moved to wgfleet on %s: --undo goes back", when)
		return true, nil
	}
	p.block("the migration of %s was cut short: go back with `wgfleet migrate --undo`, then try again", when)
	return true, nil
}

// byHand is what to do without systemd.
func (p *Plan) byHand() string {
	return fmt.Sprintf("stop the old agent and start `%s serve` in %s, where it reads the same .env", p.o.Executable, p.From)
}

func (p *Plan) chooseBackend(ctx context.Context) error {
	var reasons []string
	for _, b := range p.o.Backends(ctx) {
		switch {
		case b.Kind == engine.KindNetstack: // its interfaces are not the host's
		case b.Err == nil:
			p.Backend = b.Kind
			return nil
		default:
			reasons = append(reasons, fmt.Sprintf("%s: %v", b.Kind, b.Err))
		}
	}
	p.block("no backend that makes interfaces of this host works here: %s", strings.Join(reasons, "; "))
	return nil
}

// judgeInterfaces decides what comes up at boot, and what needs care when the old agent stops.
func (p *Plan) judgeInterfaces(context.Context) error {
	var up, down, byHand []string
	for _, i := range p.Interfaces {
		switch {
		case !i.Up:
			down = append(down, i.Name)
			continue
		case i.Unit == "" && i.Netdev == "":
			byHand = append(byHand, i.Name)
		}
		up = append(up, i.Name)
		if p.startedByOld(i) {
			p.notice("interface %s is served by %s, which the old agent started: it is left running when %s stops", i.Name, i.ServedBy, p.Unit.Name)
		}
	}
	if len(byHand) > 0 {
		p.notice("no unit brings up %s, so a reboot took it down until now: wgfleet brings it up", strings.Join(byHand, ", "))
	}
	if len(down) == 0 || p.Backend == engine.KindKernel { // there, what was not up under wgfleet stays down
		return nil
	}
	value := strings.Join(up, ",")
	if value == "" {
		value = "none"
	}
	p.environ.Set("WGFLEET_UP", value)
	p.notice("%s is down and stays so: WGFLEET_UP=%s in %s names what comes up at boot", strings.Join(down, ", "), value, envPath)
	return nil
}

func (p *Plan) startedByOld(i Interface) bool {
	return p.Unit != nil && i.server != nil && i.server.of(p.Unit.Name)
}

// judgeProgram refuses to make a service of a program that is not there to stay.
func (p *Plan) judgeProgram(context.Context) error {
	places := []string{p.From, "/tmp", "/var/tmp", "/home", "/root", "/run", "/dev"}
	if i := slices.IndexFunc(places, func(dir string) bool { return strings.HasPrefix(p.o.Executable, dir+"/") }); i >= 0 {
		p.block("this program is %s, and %s is no place for a service: copy it to /usr/local/bin and run it from there", p.o.Executable, places[i])
	}
	return nil
}

// judgeOurs refuses to overwrite.
func (p *Plan) judgeOurs(ctx context.Context) error {
	for _, path := range []string{envPath, unitPath} {
		if _, err := os.Lstat(p.o.at(path)); err == nil {
			p.block("%s exists and was not written by a migration: move it away first", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for %s: %w", path, err)
		}
	}
	state, err := p.state(ctx, unitName)
	if err == nil && state.IsActive() {
		p.block("%s runs here already: stop it first", unitName)
	}
	return err
}

// state asks systemd; where it does not answer, the folders say what is enabled.
func (p *Plan) state(ctx context.Context, unit string) (systemd.State, error) {
	if p.o.Systemd != nil {
		return p.o.Systemd.State(ctx, unit)
	}
	wanted, err := filepath.Glob(filepath.Join(p.o.at("/etc/systemd/system"), "*.wants", unit))
	if err != nil {
		return systemd.State{}, fmt.Errorf("look at the units: %w", err)
	}
	if len(wanted) > 0 {
		return systemd.State{Active: "inactive", Enabled: "enabled"}, nil
	}
	return systemd.State{Active: "inactive"}, nil
}
