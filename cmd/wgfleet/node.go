package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

var nodeFields = fields{
	{flag: "agent-url", key: "agent_url", help: "where its agent answers, for example http://10.0.0.2:8080"},
	{flag: "secret-file", key: "secret", kind: fromFile, help: "file with the shared secret of its agent, - for standard input"},
	{flag: "interface", key: "wg_interface", help: "WireGuard interface (default wg0)"},
	{flag: "endpoint", key: "endpoint", help: "host or host:port that clients dial"},
	{flag: "pool", key: "ip_pool_cidr", help: "address pool: an IPv4 and an IPv6 prefix at most, with a comma between"},
	{flag: "enabled", key: "enabled", kind: boolean, help: "whether the node is managed"},
	{flag: "weight", key: "weight", kind: number, help: "share of the peers that choose a node by themselves (default 100)"},
	{flag: "max-peers", key: "max_peers", kind: number, help: "most peers that it takes, 0 for no limit"},
	{flag: "tls-pin", key: "tls_pin", help: "SHA-256 of its agent's certificate, in hex"},
	{flag: "allow-plaintext-secrets", key: "allow_plaintext_secrets", kind: boolean, help: "send keys over plain HTTP too"},
	{flag: "listen-port", key: "override_listen_port", kind: number, clear: true, help: "override: listen port of the interface"},
	{flag: "dns", key: "override_dns", clear: true, help: "override: DNS servers and search domains of client files"},
	{flag: "mtu", key: "override_mtu", kind: number, clear: true, help: "override: MTU of client files"},
	{flag: "keepalive", key: "override_keepalive", kind: number, clear: true, help: "override: persistent keepalive in seconds"},
	{flag: "endpoint-allowed-ip", key: "override_endpoint_allowed_ip", clear: true, help: "override: what clients send into the tunnel"},
	{flag: "group", key: "group_id", clear: true, help: "group that it is in, by id or name"},
	{flag: "template", key: "template_id", clear: true, help: "template that it takes settings from, by id or name"},
}

func newNode(con *console) *cobra.Command {
	g := group("node", "Nodes: agents and the interfaces that they keep", "  wgfleet node list\n  wgfleet node test berlin")
	f := addPanelFlags(con, g)
	g.AddCommand(nodeList(f), nodeShow(f), nodeAdd(f), nodeSet(f), nodeRemove(f), nodeTest(f), nodeEffective(f))
	return g
}

func nodeList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the nodes", Args: usage(0, 0),
		Example: "  wgfleet node list\n  wgfleet node list --json | jq -r '.[].name'",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return showList(ctx, f, client, "/api/nodes", nil, func(all []panelclient.Node) error {
				if len(all) == 0 {
					f.con.hint("No nodes yet. Next: wgfleet node add NAME --agent-url http://HOST:8080 --pool 10.8.0.0/24")
				}
				rows := make([][]string, len(all))
				for i, n := range all {
					health := n.Health
					if !n.Enabled {
						health = "disabled"
					}
					rows[i] = []string{n.Name, n.WGInterface, health, strconv.Itoa(n.PeerCount), n.IPPoolCIDR, n.AgentURL, n.ID}
				}
				return f.con.table([]string{"NAME", "INTERFACE", "HEALTH", "PEERS", "POOL", "AGENT", "ID"}, rows)
			})
		}),
	}
}

func nodeShow(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show NODE", Short: "Show one node, by id or name", Args: usage(1, 1),
		Example: "  wgfleet node show berlin",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			n, err := findNode(ctx, client, args[0])
			if err != nil {
				return err
			}
			data, err := fetch(ctx, client, nodePath(n.ID))
			if err != nil {
				return err
			}
			return show(f, data, f.con.members)
		}),
	}
}

func nodeAdd(f *panelFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "add NAME --agent-url URL", Short: "Add a node; its agent is not contacted yet", Args: usage(1, 1),
		Example: `  wgfleet node add berlin --agent-url https://berlin.example.org:8080 --secret-file secret \
      --endpoint berlin.example.org --pool 10.9.0.0/24,fd00:9::/64
  wgfleet node add test --agent-url http://127.0.0.1:8081   # the panel makes the secret and shows it once`,
	}
	nodeFields.add(c, false)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := nodeFields.body(f.con, c)
		if err != nil {
			return err
		}
		if _, given := body["agent_url"]; !given {
			return fmt.Errorf("--agent-url is missing: where does the agent answer? see `%s --help`", c.CommandPath())
		}
		body["name"] = args[0]
		client, err := f.client()
		if err != nil {
			return err
		}
		if err := refer(c.Context(), f, client, body); err != nil {
			return err
		}
		a, err := client.Do(c.Context(), http.MethodPost, "/api/nodes", nil, body)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(n panelclient.Node) error {
			f.con.printf("Node %s was added, id %s.\n", printable(n.Name), n.ID)
			if n.Secret != "" {
				f.con.printf("Its shared secret, shown this once: set it on the node before the agent starts.\n  WG_AGENT_SECRET=%s\n", n.Secret)
			}
			f.con.hint("Next: wgfleet node test %s", handle(n.Name, n.ID))
			return nil
		})
	}
	return c
}

func nodeSet(f *panelFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "set NODE", Short: "Change a node; only what is named changes", Args: usage(1, 1),
		Example: "  wgfleet node set berlin --mtu 1380 --keepalive 30\n  wgfleet node set berlin --clear mtu --group office\n  wgfleet node set berlin --enabled=false",
	}
	all := append(fields{{flag: "name", key: "name", help: "new name"}}, nodeFields...)
	all.add(c, true)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := all.change(f.con, c)
		if err != nil {
			return err
		}
		client, err := f.client()
		if err != nil {
			return err
		}
		n, err := findNode(c.Context(), client, args[0])
		if err != nil {
			return err
		}
		if err := refer(c.Context(), f, client, body); err != nil {
			return err
		}
		a, err := client.Do(c.Context(), http.MethodPut, nodePath(n.ID), nil, body)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(n panelclient.Node) error {
			f.con.printf("Node %s was changed.\n", printable(n.Name))
			f.con.hint("Nothing was written to the node. See what differs now: wgfleet drift %s", n.ID)
			return nil
		})
	}
	return c
}

func nodeRemove(f *panelFlags) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "rm NODE", Short: "Remove a node and its peers from the panel", Args: usage(1, 1),
		Long:    "Remove a node and its peers from the panel. The interface on its host is left as it is.",
		Example: "  wgfleet node rm berlin",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		n, err := findNode(ctx, client, args[0])
		if err != nil {
			return err
		}
		if !yes {
			err := f.con.confirm(ctx, fmt.Sprintf(
				"Remove node %s from the panel? Lost here for good: its %d peers, their keys and addresses, and its shared secret.\n"+
					"The interface %s on its host stays as it is, and its clients stay connected.", printable(n.Name), n.PeerCount, n.WGInterface))
			if err != nil {
				return err
			}
		}
		a, err := client.Do(ctx, http.MethodDelete, nodePath(n.ID), nil, nil)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(any) error {
			f.con.printf("Node %s was removed.\n", printable(n.Name))
			return nil
		})
	})
	return c
}

func nodeTest(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "test NODE", Short: "Contact a node's agent and check the shared secret", Args: usage(1, 1),
		Long:    "Contact a node's agent and check the shared secret. The exit status is 1 where either fails.",
		Example: "  wgfleet node test berlin",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			n, err := findNode(ctx, client, args[0])
			if err != nil {
				return err
			}
			start := time.Now()
			a, err := client.Do(ctx, http.MethodPost, nodePath(n.ID)+"/test", nil, nil)
			if err != nil {
				return err
			}
			t, err := decode[panelclient.NodeTest](a.Data)
			if err != nil {
				return err
			}
			good := t.Reachable && t.Authenticated && t.Error == ""
			err = show(f, a.Data, func(panelclient.NodeTest) error {
				if good {
					f.con.printf("%s %s answers and knows the secret: agent %s, version %s, %s.\n", f.con.paint(green, "ok"),
						printable(n.Name), firstOf(t.AgentID, "(the original, without id)"), t.Version, time.Since(start).Round(time.Millisecond))
				}
				return nil
			})
			if err == nil && !good {
				err = fmt.Errorf("node %s: %s", printable(n.Name), firstOf(t.Error, "the agent does not accept the shared secret: set the same one on both sides"))
			}
			return err
		}),
	}
}
