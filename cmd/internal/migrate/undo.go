package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Undone is what came of Undo.
type Undone struct {
	Nothing  bool     `json:"nothing"` // there was no migration
	From     string   `json:"from,omitempty"`
	Warnings []string `json:"warnings"`
}

// Undo goes back to the old agent. It may be called again after an error, and after it was done.
func Undo(ctx context.Context, o Options) (Undone, error) {
	o = o.withDefaults()
	u := Undone{Warnings: []string{}}
	r, err := o.readRecord()
	if errors.Is(err, fs.ErrNotExist) {
		u.Nothing = true
		return u, nil
	}
	if err != nil {
		return u, err
	}
	u.From = r.From
	if o.Systemd == nil {
		return u, errors.New("--undo needs systemd, which does not answer here: stop wgfleet and start the old agent in " + r.From + " by hand")
	}
	warnings, err := o.goBack(ctx, r)
	u.Warnings = append(u.Warnings, warnings...)
	return u, err
}

// goBack brings the host back to what a record says. Each part of it may have been done already.
func (o Options) goBack(ctx context.Context, r record) (warnings []string, err error) {
	lost, err := o.inOurProcess(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range lost {
		warnings = append(warnings, fmt.Sprintf("interface %s lived in the process of wgfleet and went down with it: `wg-quick up %[1]s` brings it up", name))
	}
	if err := o.stopOurs(ctx); err != nil {
		return warnings, err
	}
	if err := o.startOld(ctx, r.Unit); err != nil {
		return warnings, err
	}
	for _, w := range r.Files {
		kept, err := o.Root.Remove(w)
		if err != nil {
			return warnings, err
		}
		if kept {
			warnings = append(warnings, w.Path+" was changed since and stays: remove it by hand")
		}
	}
	if err := o.Systemd.Reload(ctx); err != nil {
		return warnings, err
	}
	stays, err := o.forget(ctx, r)
	if err != nil {
		return warnings, err
	}
	if stays != "" {
		warnings = append(warnings, stays)
	}
	if err := os.Remove(o.at(recordPath)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return warnings, fmt.Errorf("remove the record of the migration: %w", err)
	}
	for _, dir := range slices.Backward(r.Folders) {
		_ = os.Remove(o.at(dir)) // only where it is empty
	}
	return warnings, nil
}

// inOurProcess names the interfaces that end with our unit.
func (o Options) inOurProcess(ctx context.Context) ([]string, error) {
	names, err := o.Devices.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the WireGuard interfaces: %w", err)
	}
	var out []string
	for _, name := range names {
		sockets, err := o.socketFiles("/wireguard/" + name + ".sock")
		if err != nil {
			return nil, err
		}
		holder, err := o.holder(sockets)
		if err != nil {
			return nil, err
		}
		if holder != nil && holder.of(unitName) {
			out = append(out, name)
		}
	}
	return out, nil
}

func (o Options) stopOurs(ctx context.Context) error {
	state, err := o.Systemd.State(ctx, unitName)
	if err != nil {
		return err
	}
	if state.Active != "inactive" { // a failed one is forgotten that way
		o.Progress("stop " + unitName)
		if err := o.Systemd.Stop(ctx, unitName); err != nil {
			return err
		}
	}
	if state.IsEnabled() {
		o.Progress("disable " + unitName)
		return o.Systemd.Disable(ctx, unitName)
	}
	return nil
}

func (o Options) startOld(ctx context.Context, u *recordedUnit) error {
	if u == nil {
		return nil
	}
	state, err := o.Systemd.State(ctx, u.Name)
	if err != nil {
		return err
	}
	if u.Enabled && !state.IsEnabled() {
		o.Progress("enable " + u.Name)
		if err := o.Systemd.Enable(ctx, u.Path); err != nil {
			return err
		}
	}
	if !u.Active {
		return nil
	}
	// One that is active may be about to stop, where stopping it was interrupted.
	o.Progress("start " + u.Name)
	if err := o.Systemd.Start(ctx, u.Name); err != nil {
		return err
	}
	return o.waitForOld(ctx, u)
}
