package install

import (
	"context"
	"errors"
	"fmt"
)

// run makes systemd use what was written.
func (p *Plan) run() {
	p.step("make systemd read its units", p.o.Systemd.Reload)
	if p.o.NoStart {
		return
	}
	for _, unit := range p.old.Units {
		if !p.wants(unit) {
			p.step("stop and disable "+unit, func(ctx context.Context) error { return p.away(ctx, unit) })
		}
	}
	for _, unit := range p.new.Units[1:] {
		p.step("start "+unit+", which holds the port while "+service+" restarts", func(ctx context.Context) error { return p.socket(ctx, unit) })
	}
	p.step("start "+service+", or restart it, and wait until it is ready", func(ctx context.Context) error {
		return p.o.Systemd.Restart(ctx, service)
	})
	for _, unit := range p.new.Units {
		p.step("start "+unit+" at boot", func(ctx context.Context) error { return p.o.Systemd.Enable(ctx, unit) })
	}
}

func (p *Plan) away(ctx context.Context, unit string) error {
	if err := p.o.Systemd.Stop(ctx, unit); err != nil {
		return err
	}
	return p.o.Systemd.Disable(ctx, unit)
}

// socket starts one. systemd refuses that while the service runs and has the port itself.
func (p *Plan) socket(ctx context.Context, unit string) error {
	state, err := p.o.Systemd.State(ctx, unit)
	if err != nil || state.IsActive() && !p.moved[unit] {
		return err
	}
	ran, err := p.o.Systemd.State(ctx, service)
	if err != nil {
		return err
	}
	if err := p.o.Systemd.Stop(ctx, service); err != nil {
		return err
	}
	if err := p.o.Systemd.Stop(ctx, unit); err != nil {
		return err
	}
	err = p.o.Systemd.Start(ctx, unit)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w; where another program has the port, stop it, or say another one in %s and run this again", err, envPath)
	if ran.IsActive() { // it carried traffic
		err = errors.Join(err, p.o.Systemd.Start(ctx, service))
	}
	return err
}
