package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// State is what systemd says of a unit, in its own words; see systemctl(1).
type State struct {
	Active  string // active, activating, inactive, failed, …
	Sub     string // running, auto-restart, …
	Enabled string // enabled, disabled, static, …; "" where there is no such unit
}

// IsActive reports whether the unit runs, or is about to begin or to end.
func (s State) IsActive() bool {
	return s.Active != "" && s.Active != "inactive" && s.Active != "failed"
}

// IsEnabled reports whether the unit is started at boot.
func (s State) IsEnabled() bool { return s.Enabled == "enabled" }

// Bus is the connection to systemd.
type Bus struct{ conn *dbus.Conn }

// Connect finds systemd. Nothing is asked for yet; Close frees the connection.
func Connect(ctx context.Context) (*Bus, error) {
	if _, err := os.Stat("/run/systemd/system"); err != nil { // as sd_booted(3)
		return nil, errors.New("this host was not booted with systemd")
	}
	// The connection ends with its context, and going back needs it after an interrupt.
	conn, err := dbus.NewWithContext(context.WithoutCancel(ctx))
	if err != nil {
		return nil, fmt.Errorf("systemd does not answer: %w", err)
	}
	return &Bus{conn}, nil
}

// Close frees the connection.
func (b *Bus) Close() { b.conn.Close() }

// State asks for one unit.
func (b *Bus) State(ctx context.Context, unit string) (State, error) {
	all, err := b.conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return State{}, fmt.Errorf("ask systemd for %s: %w", unit, err)
	}
	text := func(name string) string {
		s, _ := all[name].(string) // a property of another type is none of ours
		return s
	}
	return State{Active: text("ActiveState"), Sub: text("SubState"), Enabled: text("UnitFileState")}, nil
}

// Start starts a unit and waits until systemd is done with it.
func (b *Bus) Start(ctx context.Context, unit string) error {
	return b.job(ctx, "start", unit, b.conn.StartUnitContext)
}

// Restart restarts a unit, or starts it, and waits until systemd is done with it.
func (b *Bus) Restart(ctx context.Context, unit string) error {
	return b.job(ctx, "restart", unit, b.conn.RestartUnitContext)
}

// Stop stops a unit, waits until it has, and forgets that it failed.
func (b *Bus) Stop(ctx context.Context, unit string) error {
	state, err := b.State(ctx, unit)
	if err != nil {
		return err
	}
	if state.IsActive() {
		if err := b.job(ctx, "stop", unit, b.conn.StopUnitContext); err != nil {
			return err
		}
	}
	if state, err = b.State(ctx, unit); err != nil || state.Active != "failed" {
		return err
	}
	if err := b.conn.ResetFailedUnitContext(ctx, unit); err != nil {
		return fmt.Errorf("forget the failure of %s: %w", unit, err)
	}
	return nil
}

func (b *Bus) job(ctx context.Context, verb, unit string, do func(context.Context, string, string, chan<- string) (int, error)) error {
	done := make(chan string, 1)
	if _, err := do(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, err)
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("%s %s: systemd says %q: `journalctl -u %[2]s` says why", verb, unit, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %s: %w", verb, unit, context.Cause(ctx))
	}
}

// Enable enables a unit by its name, or by its path where it lies elsewhere.
func (b *Bus) Enable(ctx context.Context, unitOrPath string) error {
	if _, _, err := b.conn.EnableUnitFilesContext(ctx, []string{unitOrPath}, false, false); err != nil {
		return fmt.Errorf("enable %s: %w", unitOrPath, err)
	}
	return b.Reload(ctx)
}

// Disable disables a unit.
func (b *Bus) Disable(ctx context.Context, unit string) error {
	if _, err := b.conn.DisableUnitFilesContext(ctx, []string{unit}, false); err != nil {
		return fmt.Errorf("disable %s: %w", unit, err)
	}
	return b.Reload(ctx)
}

// Reload makes systemd read its units again.
func (b *Bus) Reload(ctx context.Context) error {
	if err := b.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("make systemd read its units: %w", err)
	}
	return nil
}
