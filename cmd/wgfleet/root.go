package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot makes the command tree.
func newRoot(con *console) *cobra.Command {
	root := group("wgfleet", "Keep a fleet of WireGuard nodes as it should be", `  wgfleet serve --panel                 run a node and a panel here
  wgfleet peer add auto laptop          a client's keys and address, pushed to its node
  wgfleet peer config NODE laptop --qr  what the client needs, as a QR code
  wgfleet drift                         what differs from what it should be
  wgfleet reconcile --all               put it right`,
		newServe(con), newDemo(con),
		newNode(con), newPeer(con), newGroup(con), newTemplate(con), newDrift(con), newReconcile(con),
		newPolicy(con), newRule(con), newEvents(con), newNotify(con), newKey(con), newRevision(con),
		newSecret(con), newGenkey(con), newPubkey(con), newGenpsk(con),
		newBackup(con), newRestore(con), newHealth(con), newInstall(con), newUninstall(con), newMigrate(con), newVersion(con),
	)
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetIn(con.in)
	root.SetOut(con.out)
	root.SetErr(con.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: see `%s --help`", err, c.CommandPath())
	})
	return root
}

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: example,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			text := fmt.Sprintf("there is no command %q", c.CommandPath()+" "+args[0])
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				text += " (did you mean " + strings.Join(near, " or ") + "?)"
			}
			return fmt.Errorf("%s: see `%s --help`", text, c.CommandPath())
		},
		Args:                       cobra.ArbitraryArgs,
		SuggestionsMinimumDistance: 2,
	}
	g.AddCommand(commands...)
	return g
}

// usage checks the number of arguments and says what they are.
func usage(lowest, highest int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < lowest || (highest >= 0 && len(args) > highest) {
			return fmt.Errorf("the arguments are wrong: expected `%s`: see `%s --help`", c.UseLine(), c.CommandPath())
		}
		return nil
	}
}
