package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
	units "github.com/wgfleet/wgfleet/deploy/systemd"
)

// Where things are on a host.
const (
	service     = "wgfleet.service"
	agentSocket = "wgfleet.socket"
	panelSocket = "wgfleet-panel.socket"

	unitDir    = "/etc/systemd/system"
	packageDir = "/usr/lib/systemd/system"
	dropInDir  = unitDir + "/" + service + ".d"
	etcDir     = "/etc/wgfleet"
	recordPath = etcDir + "/install.json"
	secretPath = etcDir + "/agent.secret"
	// migrationPath is the record of wgfleet migrate.
	migrationPath = "/var/lib/wgfleet/migration.json"
	envPath       = etcDir + "/wgfleet.env"
	// packaged is the program that the units run; Program is where one is put that no package brought.
	packaged = "/usr/bin/wgfleet"
	Program  = "/usr/local/bin/wgfleet"
)

const envText = `# Settings of wgfleet, as variables: ` + "`wgfleet serve --help`" + ` lists all. Then: systemctl restart wgfleet
`

// Options say what is wanted, and of which host.
type Options struct {
	Panel        bool // the panel runs here
	NoAgent      bool // the agent does not
	Unprivileged bool // WireGuard in the process, by a user without privileges
	NoStart      bool // nothing is started or enabled

	Root       hostfile.Root // what stands for /; "" is the host itself
	Executable string        // this program
	Systemd    Systemd       // nil: it does not answer here, and nothing is started
	Progress   func(string)  // is told each step before it is taken; nil: nobody listens
}

// Systemd changes units; all but State and Reload return when it is done.
type Systemd interface {
	State(ctx context.Context, unit string) (systemd.State, error)
	Start(ctx context.Context, unit string) error
	Restart(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	Enable(ctx context.Context, unit string) error
	Disable(ctx context.Context, unit string) error
	Reload(ctx context.Context) error
}

// record is what Uninstall needs.
type record struct {
	Units []string           `json:"units"` // that may run or start at boot
	Files []hostfile.Written `json:"files"`
	// Running says that systemd runs what these files say. Else it may hold a socket that is elsewhere by now.
	Running bool `json:"running"`
}

// Plan is what is going to be done.
type Plan struct {
	Steps []string // in order

	o     Options
	old   record // of the installation before; empty for none
	new   record
	steps []func(context.Context) error
	moved map[string]bool // sockets that listen elsewhere from now on
}

// New looks at the host and plans. It changes nothing.
func New(o Options) (*Plan, error) {
	if o.NoAgent && !o.Panel {
		return nil, errors.New("neither the agent nor the panel would run: give --panel with --no-agent")
	}
	p, err := begin(o)
	if err != nil {
		return nil, err
	}
	if p.exists(migrationPath) {
		return nil, errors.New("`wgfleet migrate` set this host up, and its unit is what --undo goes back from: to upgrade, replace the program and run `systemctl restart wgfleet`")
	}
	p.step("keep a record in "+recordPath+", for wgfleet uninstall", func(context.Context) error {
		err := os.MkdirAll(p.o.Root.At(filepath.Dir(etcDir)), 0o755)
		if err == nil {
			err = os.MkdirAll(p.o.Root.At(etcDir), 0o700)
		}
		if err != nil {
			return fmt.Errorf("keep a record: %w", err)
		}
		// Whatever is written until this ends, whole or not, is known to be ours by the next run.
		return p.keepRecord(record{Units: append(p.new.Units, p.old.Units...), Files: append(p.new.Files, p.old.Files...)})
	})
	if err := p.program(); err != nil {
		return nil, err
	}
	if err := p.unitFiles(); err != nil {
		return nil, err
	}
	if err := p.listen(); err != nil {
		return nil, err
	}
	p.settings()
	p.leftover()
	if o.Systemd != nil {
		p.run()
	}
	p.step("complete the record", func(context.Context) error {
		r := p.new
		r.Running = o.Systemd != nil && !o.NoStart
		if !r.Running { // nothing was stopped
			r.Units = append(r.Units, p.old.Units...)
		}
		return p.keepRecord(r)
	})
	return p, nil
}

// begin finds what is there.
func begin(o Options) (*Plan, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if info, err := os.Stat(o.Root.At("/")); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder: expected the root of a system", o.Root)
	}
	old, err := readRecord(o.Root)
	p := &Plan{o: o, old: old, moved: map[string]bool{}}
	for _, d := range doors {
		p.moved[d.unit] = len(old.Units) > 0 && !old.Running
	}
	return p, err
}

// Units are those that start the service, for systemctl.
func (p *Plan) Units() []string { return p.new.Units }

// Apply does what was planned, and stops at the first step that fails: run again, it goes on.
func (p *Plan) Apply(ctx context.Context) error {
	for i, do := range p.steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.o.Progress(p.Steps[i])
		if err := do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) step(text string, do func(context.Context) error) {
	p.Steps, p.steps = append(p.Steps, text), append(p.steps, do)
}

// program puts this program where the unit runs it, unless a package did.
func (p *Plan) program() error {
	if p.o.Executable == packaged {
		return nil
	}
	content, err := os.ReadFile(p.o.Executable)
	if err != nil {
		return fmt.Errorf("read this program: %w", err)
	}
	return p.file("put this program at "+Program, Program, string(content), 0o755)
}

// unitFiles are those of the roles.
func (p *Plan) unitFiles() error {
	names := []string{service}
	if !p.o.NoAgent {
		names = append(names, agentSocket)
	}
	if p.o.Panel {
		names = append(names, panelSocket)
	}
	for _, name := range names {
		if p.o.Executable == packaged && p.exists(packageDir+"/"+name) {
			continue
		}
		if err := p.unit("write "+unitDir+"/"+name, unitDir+"/"+name, name); err != nil {
			return err
		}
	}
	p.new.Units = names
	dropIns := map[string]bool{"unprivileged.conf": p.o.Unprivileged || p.o.NoAgent, "panel.conf": p.o.Panel && !p.o.NoAgent, "panel-only.conf": p.o.NoAgent}
	why := map[string]string{
		"unprivileged.conf": "for a user without privileges", "panel.conf": "for the panel", "panel-only.conf": "for the panel alone",
	}
	for _, name := range []string{"unprivileged.conf", "panel.conf", "panel-only.conf"} {
		if !dropIns[name] {
			continue
		}
		path := dropInDir + "/" + name
		if err := p.unit("write "+path+", "+why[name], path, name); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) unit(text, path, name string) error {
	content, err := units.Files.ReadFile(name)
	if err != nil {
		return err // the name is a constant of ours
	}
	s := string(content)
	if p.o.Executable != packaged {
		s = strings.ReplaceAll(s, packaged, Program)
	}
	return p.file(text, path, s, 0o644)
}

// settings are the administrator's from the moment that they are there.
func (p *Plan) settings() {
	if !p.exists(envPath) {
		p.step("write "+envPath+", for settings", func(context.Context) error { return p.o.Root.New(envPath, envText, 0o600) })
	}
	if p.o.NoAgent || p.exists(secretPath) {
		return
	}
	p.step("make a secret for the agent in "+secretPath+", for root alone", func(context.Context) error {
		return p.o.Root.New(secretPath, string(agent.NewSecret())+"\n", 0o600)
	})
}

// file plans to write one, in place of the one that an earlier installation wrote.
func (p *Plan) file(text, path, content string, mode fs.FileMode) error {
	p.new.Files = append(p.new.Files, hostfile.Of(path, content))
	there, err := os.ReadFile(p.o.Root.At(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("look at %s: %w", path, err)
	case string(there) == content:
		return nil
	case !slices.Contains(p.old.Files, hostfile.Of(path, string(there))):
		return fmt.Errorf("%s is there and not as `wgfleet install` wrote it: move it away, or put what you changed into a drop-in (systemctl edit)", path)
	}
	p.step(text, func(context.Context) error {
		if err := os.MkdirAll(p.o.Root.At(filepath.Dir(path)), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		return p.o.Root.Replace(path, content, mode)
	})
	return nil
}

func (p *Plan) wants(unit string) bool { return slices.Contains(p.new.Units, unit) }

// leftover removes what an earlier installation wrote and this one does not need.
func (p *Plan) leftover() {
	for _, w := range p.old.Files {
		if slices.ContainsFunc(p.new.Files, func(n hostfile.Written) bool { return n.Path == w.Path }) || !p.exists(w.Path) {
			continue
		}
		for _, d := range doors {
			p.moved[d.unit] = p.moved[d.unit] || w.Path == d.dropIn()
		}
		p.step("remove "+w.Path+", which is not needed any more", func(context.Context) error {
			kept, err := p.o.Root.Remove(w)
			if kept {
				return fmt.Errorf("%s was changed since `wgfleet install` wrote it: move it away", w.Path)
			}
			return err
		})
	}
}

func (p *Plan) exists(path string) bool {
	_, err := os.Lstat(p.o.Root.At(path))
	return err == nil
}

func (p *Plan) keepRecord(r record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return p.o.Root.Replace(recordPath, string(text)+"\n", 0o600)
}

func readRecord(root hostfile.Root) (r record, err error) {
	text, err := os.ReadFile(root.At(recordPath))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("%s can't be read as the record of an installation: %w: move it away and run `wgfleet install` again", root.At(recordPath), err)
	}
	return r, nil
}
