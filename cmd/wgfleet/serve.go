package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
)

func newServe(con *console) *cobra.Command {
	c := &cobra.Command{
		Use: "serve", Short: "Run a node: the agent, and with --panel the panel", Args: usage(0, 0),
		Long: `Run a node: the agent role always (unless --no-agent), the panel role with --panel.

A setting comes from its flag, else from its variable (in brackets, before its name in YAML), else from .env in
the working folder, else from the file --config, else it has its default.

When it stops, interfaces of the kernel stay up and carry traffic, so that an upgrade does not interrupt it; with
--down-on-exit those made here go down, hooks included. With the backends tun and netstack the interfaces live in
the process and go down with it; at the next start it calls the peers that were connected.`,
		Example: `  WG_AGENT_SECRET=$(wgfleet secret) wgfleet serve
  wgfleet serve --panel
  wgfleet serve --config /etc/wgfleet.yaml`,
	}
	c.Flags().SortFlags = false
	app.AddFlags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		settings, err := app.Load(app.Sources{Environ: con.environ, Flags: c.Flags(), Dir: dir})
		if err != nil {
			return err
		}
		return app.Run(c.Context(), settings, app.Streams{Out: con.out, Log: con.err, Version: version})
	}
	return c
}
