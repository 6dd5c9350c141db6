package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/cmd/internal/install"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
)

func newInstall(con *console) *cobra.Command {
	var o install.Options
	var root string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use: "install", Short: "Set this host up: the program, units of systemd, a secret", Args: usage(0, 0),
		Long: `Set this host up: the program, units of systemd, a secret. Run again, it brings a newer program and other roles.

The node owns the WireGuard interfaces of this host; with --unprivileged its WireGuard is inside the process, which then
runs as a user that systemd makes for it, without privileges. Requests wait while the service restarts, and interfaces
of the kernel stay up. ` + "`wgfleet uninstall`" + ` takes everything away but settings, secret, data and /etc/wireguard.`,
		Example: "  wgfleet install --dry-run\n  wgfleet install\n  wgfleet install --panel\n  wgfleet install --panel --no-agent",
	}
	f := c.Flags()
	f.BoolVar(&o.Panel, "panel", false, "run the panel here")
	f.BoolVar(&o.NoAgent, "no-agent", false, "do not run the agent")
	f.BoolVar(&o.Unprivileged, "unprivileged", false, "WireGuard in the process, without privileges")
	f.BoolVar(&o.NoStart, "no-start", false, "start and enable nothing")
	f.StringVar(&root, "root", "", "folder of another system, such as an image: nothing is started")
	f.BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	f.BoolVar(&asJSON, "json", false, "print JSON; progress goes to standard error")
	c.RunE = func(c *cobra.Command, _ []string) error {
		done, err := onHost(c.Context(), con, &o, root, dryRun)
		if err != nil {
			return err
		}
		defer done()
		p, err := install.New(o)
		if err != nil {
			return err
		}
		if err := follow(c.Context(), con, p, dryRun, asJSON); err != nil || dryRun || asJSON {
			return err
		}
		switch {
		case o.Systemd == nil || o.NoStart:
			con.printf("Nothing was started: `systemctl enable --now %s` does that.\n", strings.Join(p.Units(), " "))
		case o.Panel:
			con.printf("%s: /var/lib/wgfleet/admin.key is its administrator's key; `wgfleet node list` asks it\n", con.paint(green, "wgfleet runs"))
		default:
			con.printf("%s: its panel needs what is in /etc/wgfleet/agent.secret\n", con.paint(green, "wgfleet runs"))
		}
		return nil
	}
	return c
}

func newUninstall(con *console) *cobra.Command {
	var o install.Options
	var root string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use: "uninstall", Short: "Take away what install brought, but settings, secret and data", Args: usage(0, 0),
		Example: "  wgfleet uninstall --dry-run\n  wgfleet uninstall",
	}
	c.Flags().StringVar(&root, "root", "", "folder of another system, such as an image: nothing is stopped")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; progress goes to standard error")
	c.RunE = func(c *cobra.Command, _ []string) error {
		done, err := onHost(c.Context(), con, &o, root, dryRun)
		if err != nil {
			return err
		}
		defer done()
		p, err := install.Uninstall(o)
		if err != nil {
			return err
		}
		if err := follow(c.Context(), con, p, dryRun, asJSON); err != nil || dryRun || asJSON || len(p.Steps) == 0 {
			return err
		}
		con.printf("These stay, and are yours to remove:\n")
		for _, path := range install.Kept() {
			con.printf("  %s\n", path)
		}
		return nil
	}
	return c
}

// onHost says which host it is. Only to look at it, and at another system's folder, needs no privilege.
func onHost(ctx context.Context, con *console, o *install.Options, root string, dryRun bool) (done func(), err error) {
	o.Root = hostfile.Root(root)
	o.Progress = func(step string) { con.hint("%s", printable(step)) }
	if o.Executable, err = os.Executable(); err == nil {
		o.Executable, err = filepath.EvalSymlinks(o.Executable)
	}
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if root != "" {
		return func() {}, nil
	}
	if os.Geteuid() != 0 && !dryRun {
		return nil, errors.New("this changes what belongs to root: run it as root, or with sudo; --dry-run only looks")
	}
	bus, err := systemd.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: run `wgfleet serve` under what starts programs here", err)
	}
	o.Systemd = bus
	return bus.Close, nil
}

// follow shows the plan or does it.
func follow(ctx context.Context, con *console, p *install.Plan, dryRun, asJSON bool) error {
	switch {
	case len(p.Steps) == 0 && !asJSON:
		con.printf("There is nothing to do.\n")
		return nil
	case dryRun && !asJSON:
		for i, s := range p.Steps {
			con.printf("%3d. %s\n", i+1, printable(s))
		}
		con.printf("Nothing was changed.\n")
		return nil
	}
	var err error
	if !dryRun {
		err = p.Apply(ctx)
	}
	if asJSON {
		steps := p.Steps
		if steps == nil {
			steps = []string{}
		}
		return errors.Join(con.json(map[string]any{"steps": steps, "done": !dryRun && err == nil}), err)
	}
	return err
}
