package main

import (
	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/agent"
)

func newSecret(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "secret", Short: "Print a new strong shared secret for an agent and its panel", Args: usage(0, 0),
		Example: "  export WG_AGENT_SECRET=$(wgfleet secret)",
		RunE: func(*cobra.Command, []string) error {
			con.printf("%s\n", string(agent.NewSecret()))
			return nil
		},
	}
}
