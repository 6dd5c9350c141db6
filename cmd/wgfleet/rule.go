package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

var ruleFields = fields{
	{flag: "key", key: "public_key", help: "the peer with this public key"},
	{flag: "allowed-ips", key: "allowed_ips", help: "peers all of whose allowed IPs lie in this prefix"},
	{flag: "name", key: "name", help: "orphaned peers that the panel called so; * and ? stand for others"},
	{flag: "until", key: "until", clear: true, help: "when the rule ends, for example 2026-12-31T00:00:00Z (default: never)"},
	{flag: "reason", key: "reason", help: "why, for those who come after you"},
}

func newRule(con *console) *cobra.Command {
	g := group("rule", "Rules on peers that the panel does not want: whom to ignore, whom to protect",
		"  wgfleet rule list\n  wgfleet rule add ignore --allowed-ips 10.99.0.0/16 --for 720h --reason 'being moved'")
	f := addPanelFlags(con, g)
	g.AddCommand(ruleList(f), ruleAdd(f), ruleRemove(f))
	return g
}

func ruleList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the rules", Args: usage(0, 0),
		Example: "  wgfleet rule list",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			names := map[string]string{}
			if !f.json {
				all, err := nodes(ctx, client)
				if err != nil {
					return err
				}
				for _, n := range all {
					names[n.ID] = n.Name
				}
			}
			return showList(ctx, f, client, "/api/drift/rules", nil, func(all []panelclient.Rule) error {
				rows := make([][]string, len(all))
				for i, r := range all {
					node, until := "all", "never"
					if r.NodeID != nil {
						node = firstOf(names[*r.NodeID], *r.NodeID)
					}
					if r.Until != nil {
						until = r.Until.Format(time.DateTime)
					}
					if !r.InForce {
						until += " (over)"
					}
					rows[i] = []string{r.Action, r.About(), node, until, r.Reason, r.ID}
				}
				return f.con.table([]string{"ACTION", "PEERS", "NODE", "ENDS (UTC)", "REASON", "ID"}, rows)
			})
		}),
	}
}

func ruleAdd(f *panelFlags) *cobra.Command {
	var node string
	var lasts time.Duration
	c := &cobra.Command{
		Use: "add ignore|protect", Short: "Leave some unknown peers alone, or never let them be removed", Args: usage(1, 1),
		Long: `Leave some unknown peers alone, for a time or for good. An ignored peer is no drift, is
shown and counted apart, and nothing is done about it. A protected one is drift still,
and is never removed. One of --key, --allowed-ips and --name says whom the rule is about.`,
		Example: `  wgfleet rule add ignore --key BASE64 --node berlin --reason 'the monitoring of the data centre'
  wgfleet rule add protect --allowed-ips 10.99.0.0/16 --for 720h`,
	}
	ruleFields.add(c, false)
	c.Flags().StringVar(&node, "node", "", "on this node only, by id or name")
	c.Flags().DurationVar(&lasts, "for", 0, "for so long, instead of --until")
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := ruleFields.body(f.con, c)
		if err != nil {
			return err
		}
		body["action"] = args[0]
		if lasts != 0 {
			if _, given := body["until"]; given || lasts < 0 {
				return errors.New("--for: a time to come is expected, and not --until as well")
			}
			body["until"] = time.Now().Add(lasts).UTC().Format(time.RFC3339)
		}
		client, err := f.client()
		if err != nil {
			return err
		}
		if node != "" {
			n, err := findNode(c.Context(), client, node)
			if err != nil {
				return err
			}
			body["node_id"] = n.ID
		}
		a, err := client.Do(c.Context(), http.MethodPost, "/api/drift/rules", nil, body)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(r panelclient.Rule) error {
			f.con.printf("The rule was made, id %s.\n", r.ID)
			return nil
		})
	}
	return c
}

func ruleRemove(f *panelFlags) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "rm RULE", Short: "Remove a rule, by id", Args: usage(1, 1),
		Example: "  wgfleet rule rm 01a21c2d-c6e5-7690-aaae-127a7a09348c",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		path := "/api/drift/rules/" + url.PathEscape(args[0])
		data, err := fetch(ctx, client, path)
		if err != nil {
			return err
		}
		r, err := decode[panelclient.Rule](data)
		if err != nil {
			return err
		}
		if !yes {
			err := f.con.confirm(ctx, fmt.Sprintf("Remove the rule to %s %s? They are drift from now on, and pruning may take them.", r.Action, printable(r.About())))
			if err != nil {
				return err
			}
		}
		a, err := client.Do(ctx, http.MethodDelete, path, nil, nil)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(any) error {
			f.con.printf("The rule was removed.\n")
			return nil
		})
	})
	return c
}
