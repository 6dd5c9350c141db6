package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
	"github.com/wgfleet/wgfleet/engine"
)

// step is one that is shown in the plan and taken by Apply.
type step struct {
	text string
	do   func(context.Context) error
}

// killMode keeps what the old agent started running when its unit stops.
const killMode = "[Service]\nKillMode=process\n"

// makeSteps lists what will be done; the record names the files before they are written.
func (p *Plan) makeSteps() {
	p.record = record{Phase: phaseApplying, From: p.From}
	if p.Unit != nil {
		p.record.Unit = &recordedUnit{
			Name: p.Unit.Name, Path: p.Unit.service.path, Active: p.Unit.state.IsActive(), Enabled: p.Unit.state.IsEnabled(), URL: p.Settings.url(),
		}
	}
	p.step("keep a record of what is here in "+recordPath+", for --undo", p.keepRecord)
	p.addFile("write the settings to "+envPath+", for root alone", envPath, systemd.FormatEnvironment(p.environ), 0o600)
	p.addFile("write "+unitPath+", which runs `"+p.o.Executable+" serve`", unitPath, p.unitText(), 0o644)
	if p.Unit != nil && p.Unit.state.IsActive() {
		helpers := false
		for _, i := range p.Interfaces {
			helpers = helpers || p.startedByOld(i)
		}
		if helpers {
			p.addFile("tell systemd to leave running what "+p.Unit.Name+" started", p.dropIn(), killMode, 0o644)
		}
		p.step("stop "+p.Unit.Name+": the interfaces stay up", p.stopOld)
	}
	p.step("start "+unitName+" and wait until it answers signed requests with the same peers; if not, go back", p.startOurs)
	if p.Unit != nil && p.Unit.state.IsEnabled() {
		p.step("disable "+p.Unit.Name+" and enable "+unitName+" at boot", p.swapBoot)
	} else {
		p.step("enable "+unitName+" at boot", p.swapBoot)
	}
}

func (p *Plan) step(text string, do func(context.Context) error) {
	p.Steps = append(p.Steps, text)
	p.steps = append(p.steps, step{text, do})
}

func (p *Plan) addFile(text, path, content string, mode os.FileMode) {
	p.record.Files = append(p.record.Files, hostfile.Of(path, content))
	p.step(text, func(ctx context.Context) error {
		folderMode := os.FileMode(0o755)
		if mode == 0o600 {
			folderMode = 0o700
		}
		if err := os.MkdirAll(p.o.at(filepath.Dir(path)), folderMode); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		if err := p.o.Root.New(path, content, mode); errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists and was not written by a migration: move it away first", path)
		} else if err != nil {
			return err
		}
		return p.o.Systemd.Reload(ctx)
	})
}

// dropIn does not outlive the next boot, and goes as soon as the old unit has stopped.
func (p *Plan) dropIn() string {
	return "/run/systemd/system/" + p.Unit.Name + ".d/wgfleet-migrate.conf"
}

// unitText is the unit. KillMode leaves alone what hooks started. It comes after the units of
// wg-quick, so that it takes over what they bring up at boot.
func (p *Plan) unitText() string {
	after := []string{"network.target"}
	for _, i := range p.Interfaces {
		if unit, ok := quickUnit(i.Name); ok {
			after = append(after, unit)
		}
	}
	exe := strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`, "$", "$$").Replace(p.o.Executable)
	return `# Written by wgfleet migrate; wgfleet migrate --undo removes it while it is unchanged.
[Unit]
Description=wgfleet agent
After=` + strings.Join(after, " ") + `

[Service]
Type=exec
ExecStart="` + exe + `" serve
EnvironmentFile=` + envPath + `
StateDirectory=` + filepath.Base(dataDir) + `
StateDirectoryMode=0700
UMask=0077
Restart=on-failure
RestartSec=2
KillMode=process
TimeoutStopSec=20

[Install]
WantedBy=multi-user.target
`
}

func (p *Plan) keepRecord(context.Context) error {
	p.record.At = p.o.Now().UTC()
	paths := []string{recordPath}
	for _, w := range p.record.Files {
		paths = append(paths, w.Path)
	}
	p.record.Folders = p.o.missing(paths...)
	return p.o.writeRecord(p.record)
}

func (p *Plan) stopOld(ctx context.Context) error {
	if err := p.o.Systemd.Stop(ctx, p.Unit.Name); err != nil {
		return err
	}
	for _, w := range p.record.Files {
		if w.Path == p.dropIn() {
			if _, err := p.o.Root.Remove(w); err != nil {
				return err
			}
		}
	}
	sockets, err := p.o.listeners(p.Settings.Port)
	if err != nil || len(sockets) == 0 {
		return err
	}
	who := "something that it left running"
	if holder, err := p.o.holder(sockets); err == nil && holder != nil {
		who = holder.String()
	}
	return fmt.Errorf("%s has stopped, but port %d is still in use by %s", p.Unit.Name, p.Settings.Port, who)
}

// startOurs compares with what the devices hold now that nobody else writes to them.
func (p *Plan) startOurs(ctx context.Context) error {
	key := engine.DeriveMACKey([]byte(p.secret))
	p.before = map[string]string{}
	for _, i := range p.Interfaces {
		if !i.Up {
			continue
		}
		peers, err := p.observe(ctx, i.Name)
		if err != nil {
			return fmt.Errorf("interface %s is not there any more: %w", i.Name, err)
		}
		p.before[i.Name] = engine.Digest(peers, key)
	}
	if err := p.o.Systemd.Start(ctx, unitName); err != nil {
		return err
	}
	return p.waitForOurs(ctx)
}

func (p *Plan) swapBoot(ctx context.Context) error {
	if p.Unit != nil && p.Unit.state.IsEnabled() {
		if err := p.o.Systemd.Disable(ctx, p.Unit.Name); err != nil {
			return err
		}
	}
	return p.o.Systemd.Enable(ctx, unitName)
}

// numbered is a step with its place in the plan.
func (p *Plan) numbered(i int) string {
	return strconv.Itoa(i+1) + "/" + strconv.Itoa(len(p.steps)) + " " + p.steps[i].text
}
