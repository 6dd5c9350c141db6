package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/migrate"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
)

func newMigrate(con *console) *cobra.Command {
	var from string
	var apply, undo, asJSON bool
	c := &cobra.Command{
		Use: "migrate", Short: "Move this host from the original Python agent to wgfleet, and back", Args: usage(0, 0),
		Long: `Move this host from the original Python agent to wgfleet, and back.

Without --apply or --undo it looks, prints what it would do, and changes nothing. --apply does it: the same
settings, port and secret, interfaces stay up; if wgfleet does not answer with the same peers, the old agent is
started again. --undo goes back to the old agent, also from a migration that was cut short.`,
		Example: "  wgfleet migrate --from /opt/wgdashboard-agent\n  wgfleet migrate --from /opt/wgdashboard-agent --apply\n  wgfleet migrate --undo",
	}
	c.Flags().StringVar(&from, "from", "/opt/wgdashboard-agent", "folder of the original agent")
	c.Flags().BoolVar(&apply, "apply", false, "do what is planned")
	c.Flags().BoolVar(&undo, "undo", false, "go back to the original agent")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; progress goes to standard error")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if apply && undo {
			return errors.New("--apply and --undo are opposites: give one of them")
		}
		o, done, err := migrateOptions(c.Context(), con, from)
		if err != nil {
			return err
		}
		defer done()
		if apply || undo {
			// A terminal that is gone must not leave the host half moved.
			signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
			o.Progress = func(step string) { con.hint("%s", printable(step)) }
		}
		if undo {
			return undoMigration(c.Context(), con, o, asJSON)
		}
		return migrateHost(c.Context(), con, o, apply, asJSON)
	}
	return c
}

func migrateOptions(ctx context.Context, con *console, from string) (o migrate.Options, done func(), err error) {
	from, err = filepath.Abs(from)
	if err != nil {
		return o, nil, err
	}
	if os.Geteuid() != 0 {
		return o, nil, errors.New("migrate reads and changes what belongs to root: run it as root, or with sudo")
	}
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return o, nil, fmt.Errorf("find this program: %w", err)
	}
	o = migrate.Options{From: from, Executable: exe}
	bus, err := systemd.Connect(ctx)
	if err != nil {
		return o, func() {}, nil //nolint:nilerr // a host without systemd can still be looked at
	}
	o.Systemd = bus
	return o, bus.Close, nil
}

func migrateHost(ctx context.Context, con *console, o migrate.Options, apply, asJSON bool) error {
	plan, err := migrate.Inspect(ctx, o)
	if err != nil {
		return err
	}
	if !asJSON {
		printPlan(con, plan)
	}
	known := len(plan.Warnings)
	if err = plan.Err(); err == nil && apply {
		err = plan.Apply(ctx)
	}
	if asJSON {
		return errors.Join(con.json(plan), err)
	}
	for _, w := range plan.Warnings[known:] {
		con.printf("%s %s\n", con.paint(yellow, "warning:"), w)
	}
	switch {
	case err != nil:
	case plan.Outcome == migrate.Applied:
		con.printf("%s: `wgfleet migrate --undo` goes back\n", con.paint(green, "wgfleet runs this host now"))
	case plan.Outcome == migrate.Planned:
		con.printf("Nothing was changed: --apply does it.\n")
	}
	return err
}

func printPlan(con *console, p *migrate.Plan) {
	if len(p.Steps) > 0 {
		printFound(con, p)
	}
	if len(p.Blockers) == 0 && len(p.Steps) > 0 {
		con.printf("%s\n", con.paint(bold, "Plan"))
		for i, s := range p.Steps {
			con.printf("%3d. %s\n", i+1, printable(s))
		}
	}
	for _, n := range p.Notices {
		con.printf("notice: %s\n", printable(n))
	}
	for _, w := range p.Warnings {
		con.printf("%s %s\n", con.paint(yellow, "warning:"), printable(w))
	}
}

func printFound(con *console, p *migrate.Plan) {
	unit := "run by no unit of systemd"
	if p.Unit != nil {
		unit = fmt.Sprintf("run by %s (%s)", p.Unit.Name, strings.Trim(p.Unit.Active+", "+p.Unit.Enabled, ", "))
	}
	con.printf("%s, %s\n", con.paint(bold, "The agent in "+p.From), unit)
	if p.Settings.Port != 0 {
		con.printf("  listens on %s port %d, log level %s, requests are valid for %d s\n",
			p.Settings.Host, p.Settings.Port, p.Settings.LogLevel, p.Settings.MaxTimestampAge)
	}
	if p.Backend != "" {
		con.printf("  new interfaces will be made with the backend %s\n", p.Backend)
	}
	con.printf("%s\n", con.paint(bold, "Interfaces"))
	if len(p.Interfaces) == 0 {
		con.printf("  none\n")
	}
	for _, i := range p.Interfaces {
		parts := []string{"down"}
		if i.Up {
			parts = []string{"up", i.Kind}
		}
		parts = append(parts, fmt.Sprintf("peers: %d", i.Peers), i.ServedBy, i.Unit, i.Netdev, i.File)
		var shown []string
		for _, part := range parts {
			if part != "" {
				shown = append(shown, printable(part))
			}
		}
		con.printf("  %-8s  %s\n", i.Name, strings.Join(shown, ", "))
	}
}

func undoMigration(ctx context.Context, con *console, o migrate.Options, asJSON bool) error {
	undone, err := migrate.Undo(ctx, o)
	if asJSON {
		return errors.Join(con.json(undone), err)
	}
	for _, w := range undone.Warnings {
		con.printf("%s %s\n", con.paint(yellow, "warning:"), printable(w))
	}
	switch {
	case err != nil:
	case undone.Nothing:
		con.printf("There is no migration to undo.\n")
	default:
		con.printf("%s\n", con.paint(green, "The agent in "+undone.From+" runs this host again."))
	}
	return err
}
