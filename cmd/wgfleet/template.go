package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

var templateFields = fields{
	{flag: "dns", key: "dns", clear: true, help: "client files: DNS servers and search domains"},
	{flag: "mtu", key: "mtu", kind: number, clear: true, help: "client files: MTU"},
	{flag: "keepalive", key: "keepalive", kind: number, clear: true, help: "persistent keepalive in seconds"},
	{flag: "endpoint-allowed-ip", key: "endpoint_allowed_ip", clear: true, help: "client files: what the client sends into the tunnel"},
	{flag: "pool", key: "ip_pool_cidr", help: "kind node: address pool of nodes that have none, \"\" for none"},
	{flag: "hooks", key: "hooks", kind: hooksFile, clear: true, help: "kind node: file with {\"pre_up\": […], \"post_up\": […], \"pre_down\": […], \"post_down\": […]},\n- for standard input; of nodes whose interface has no hooks of its own wished for"},
}

func newTemplate(con *console) *cobra.Command {
	g := group("template", "Templates: settings for the nodes or peers that refer to them",
		"  wgfleet template add mobile --kind peer --keepalive 25\n  wgfleet peer set berlin phone --template mobile")
	f := addPanelFlags(con, g)
	g.AddCommand(templateList(f), templates(f).show(), templateAdd(f), templates(f).set(templateFields, "  wgfleet template set mobile --keepalive 15\n  wgfleet template set router --clear hooks --yes"), templates(f).remove())
	return g
}

func templateList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the templates", Args: usage(0, 0),
		Example: "  wgfleet template list",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return showList(ctx, f, client, "/api/templates", nil, func(all []panelclient.Template) error {
				if len(all) == 0 {
					f.con.hint("No templates yet. Next: wgfleet template add NAME --kind peer --keepalive 25")
				}
				rows := make([][]string, len(all))
				for i, t := range all {
					use := amount(t.NodeCount, "node")
					if t.Kind == "peer" {
						use = amount(t.PeerCount, "peer")
					}
					hooks := ""
					if t.Hooks != nil {
						hooks = "yes"
					}
					rows[i] = []string{t.Name, t.Kind, use, cell(t.DNS), cell(t.MTU), cell(t.Keepalive), cell(t.EndpointAllowedIP), t.IPPoolCIDR, hooks, t.ID}
				}
				return f.con.table([]string{"NAME", "KIND", "USED BY", "DNS", "MTU", "KEEPALIVE", "ENDPOINT ALLOWED IP", "POOL", "HOOKS", "ID"}, rows)
			})
		}),
	}
}

func templateAdd(f *panelFlags) *cobra.Command {
	var kind string
	c := &cobra.Command{
		Use: "add NAME --kind node|peer", Short: "Add a template for nodes or for peers", Args: usage(1, 1),
		Example: "  wgfleet template add mobile --kind peer --keepalive 25\n" +
			"  wgfleet template add router --kind node --pool 10.9.0.0/24 --hooks hooks.json",
	}
	c.Flags().StringVar(&kind, "kind", "", "node, or peer")
	templateFields.add(c, false)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := templateFields.body(f.con, c)
		if err != nil {
			return err
		}
		if kind == "" {
			return fmt.Errorf("--kind is missing: node or peer? see `%s --help`", c.CommandPath())
		}
		body["name"], body["kind"] = args[0], kind
		next := "Next: wgfleet peer set NODE PEER --template %s"
		if kind == "node" {
			next = "Next: wgfleet node set NODE --template %s"
		}
		return f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return templates(f).add(ctx, client, body, next)
		})(c, args)
	}
	return c
}
