package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

var groupFields = fields{
	{flag: "description", key: "description", help: "what the group is, on one line"},
	{flag: "dns", key: "override_dns", clear: true, help: "override: DNS servers and search domains of client files"},
	{flag: "mtu", key: "override_mtu", kind: number, clear: true, help: "override: MTU of client files"},
	{flag: "keepalive", key: "override_keepalive", kind: number, clear: true, help: "override: persistent keepalive in seconds"},
	{flag: "endpoint-allowed-ip", key: "override_endpoint_allowed_ip", clear: true, help: "override: what clients send into the tunnel"},
}

func newGroup(con *console) *cobra.Command {
	g := group("group", "Groups of nodes: overrides for all of them",
		"  wgfleet group add office --mtu 1380\n  wgfleet node set berlin --group office\n  wgfleet node effective berlin")
	f := addPanelFlags(con, g)
	g.AddCommand(groupList(f), groups(f).show(), groupAdd(f), groups(f).set(groupFields, "  wgfleet group set office --keepalive 25\n  wgfleet group set office --clear mtu --yes"), groups(f).remove())
	return g
}

func groupList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the groups", Args: usage(0, 0),
		Example: "  wgfleet group list",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return showList(ctx, f, client, "/api/groups", nil, func(all []panelclient.Group) error {
				if len(all) == 0 {
					f.con.hint("No groups yet. Next: wgfleet group add NAME --mtu 1380")
				}
				rows := make([][]string, len(all))
				for i, g := range all {
					rows[i] = []string{g.Name, strconv.Itoa(g.NodeCount), cell(g.DNS), cell(g.MTU), cell(g.Keepalive), cell(g.EndpointAllowedIP), g.Description, g.ID}
				}
				return f.con.table([]string{"NAME", "NODES", "DNS", "MTU", "KEEPALIVE", "ENDPOINT ALLOWED IP", "DESCRIPTION", "ID"}, rows)
			})
		}),
	}
}

func groupAdd(f *panelFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a group of nodes", Args: usage(1, 1),
		Example: "  wgfleet group add office --mtu 1380 --description 'behind the old firewall'",
	}
	groupFields.add(c, false)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := groupFields.body(f.con, c)
		if err != nil {
			return err
		}
		body["name"] = args[0]
		return f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return groups(f).add(ctx, client, body, "Next: wgfleet node set NODE --group %s")
		})(c, args)
	}
	return c
}
