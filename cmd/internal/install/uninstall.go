package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// Uninstall plans to take away what New's plans brought.
func Uninstall(o Options) (*Plan, error) {
	p, err := begin(o)
	if err != nil {
		return nil, err
	}
	o, old := p.o, p.old
	if len(old.Files)+len(old.Units) == 0 {
		return p, nil
	}
	if o.Systemd != nil && !o.NoStart {
		for _, unit := range slices.Backward(old.Units) { // else a socket would start the service again
			p.step("stop and disable "+unit, func(ctx context.Context) error { return p.away(ctx, unit) })
		}
	}
	for _, w := range old.Files {
		p.step("remove "+w.Path+", unless you changed it", func(context.Context) error {
			kept, err := o.Root.Remove(w)
			if kept {
				o.Progress("kept " + w.Path + ": it was changed since wgfleet install wrote it")
			}
			return err
		})
	}
	p.step("remove "+recordPath, func(ctx context.Context) error {
		_ = os.Remove(o.Root.At(dropInDir)) // only where it is empty
		if err := os.Remove(o.Root.At(recordPath)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", recordPath, err)
		}
		if o.Systemd == nil {
			return nil
		}
		return o.Systemd.Reload(ctx)
	})
	return p, nil
}

// Kept is what outlives an uninstallation, for whoever wants to remove it by hand.
func Kept() []string { return []string{secretPath, envPath, "/var/lib/wgfleet", "/etc/wireguard"} }
