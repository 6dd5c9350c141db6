package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// autoNode lets the panel choose the node.
const autoNode = "auto"

var peerFields = fields{
	{flag: "public-key", key: "public_key", help: "the client's public key (default: the panel makes a key pair)"},
	{flag: "preshared-key", key: "preshared_key", clear: true, help: "a preshared key, or auto for a new one"},
	{flag: "preshared-key-file", key: "preshared_key", kind: fromFile, help: "file with a preshared key, - for standard input"},
	{flag: "allowed-ips", key: "allowed_ips", kind: list, help: "comma list of prefixes (default: the lowest free address of each pool)"},
	{flag: "keepalive", key: "persistent_keepalive", kind: number, clear: true, help: "persistent keepalive in seconds, 0 for off"},
	{flag: "dns", key: "dns", clear: true, help: "client file: DNS servers and search domains"},
	{flag: "mtu", key: "mtu", kind: number, clear: true, help: "client file: MTU"},
	{flag: "endpoint-allowed-ip", key: "endpoint_allowed_ip", clear: true, help: "client file: what the client sends into the tunnel"},
	{flag: "template", key: "template_id", clear: true, help: "template that it takes settings from, by id or name"},
	{flag: "enabled", key: "enabled", kind: boolean, help: "whether the peer may connect"},
	{flag: "expires", key: "expires_at", kind: moment, clear: true, help: "when the peer ends: a time like 2026-12-31T00:00:00Z, or from now on 30d or 12h"},
	{flag: "allow-offline", key: "allow_offline", kind: boolean, help: "keep the change though the node can't be reached"},
}

func newPeer(con *console) *cobra.Command {
	g := group("peer", "Peers: the clients of a node", "  wgfleet peer add berlin laptop\n  wgfleet peer config berlin laptop --qr")
	f := addPanelFlags(con, g)
	g.AddCommand(peerList(f), peerShow(f), peerAdd(f), peerSet(f), peerRemove(f), peerConfig(f))
	return g
}

func peerList(f *panelFlags) *cobra.Command {
	var search string
	c := &cobra.Command{
		Use: "list [NODE]", Aliases: []string{"ls"}, Short: "List the peers of a node, or of all", Args: usage(0, 1),
		Example: "  wgfleet peer list\n  wgfleet peer list berlin\n  wgfleet peer list --search laptop",
	}
	c.Flags().StringVar(&search, "search", "", "only peers with this text in them")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		all, err := nodes(ctx, client)
		if err != nil {
			return err
		}
		path, query := "/api/peers", url.Values{}
		if len(args) == 1 {
			n, err := pickNode(all, args[0])
			if err != nil {
				return err
			}
			path = nodePath(n.ID) + "/peers"
		}
		if search != "" {
			query.Set("q", search)
		}
		names := map[string]string{}
		for _, n := range all {
			names[n.ID] = n.Name
		}
		return showList(ctx, f, client, path, query, func(peers []panelclient.Peer) error {
			if len(peers) == 0 {
				f.con.hint("No peers. Next: wgfleet peer add NODE NAME")
			}
			rows := make([][]string, len(peers))
			for i, p := range peers {
				file := ""
				if p.ConfigStale {
					file = "stale"
				}
				rows[i] = []string{p.Name, names[p.NodeID], strings.Join(p.AllowedIPs, ","), p.State(), file, p.PublicKey, p.ID}
			}
			return f.con.table([]string{"NAME", "NODE", "ALLOWED IPS", "STATE", "FILE", "PUBLIC KEY", "ID"}, rows)
		})
	})
	return c
}

func peerShow(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show NODE PEER", Short: "Show one peer, by id, name or public key", Args: usage(2, 2),
		Example: "  wgfleet peer show berlin laptop",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			_, p, err := findPeer(ctx, client, args[0], args[1])
			if err != nil {
				return err
			}
			data, err := fetch(ctx, client, peerPath(p))
			if err != nil {
				return err
			}
			return show(f, data, f.con.members)
		}),
	}
}

func peerAdd(f *panelFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "add NODE|auto NAME", Short: "Add a peer and push it to its node", Args: usage(2, 2),
		Long: "Add a peer and push it to its node. With auto the panel takes the node with the most room.\n" +
			"Where the node can't be reached nothing is changed, unless --allow-offline says otherwise.",
		Example: "  wgfleet peer add berlin laptop\n  wgfleet peer add auto phone --preshared-key auto\n" +
			"  wgfleet peer add berlin printer --public-key KEY --allowed-ips 10.8.0.77/32\n" +
			"  wgfleet peer add berlin guest --expires 30d",
	}
	peerFields.add(c, false)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := peerFields.body(f.con, c)
		if err != nil {
			return err
		}
		body["name"] = args[1]
		return f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			return addPeer(ctx, f, client, args[0], body)
		})(c, args)
	}
	return c
}

func addPeer(ctx context.Context, f *panelFlags, client *panelclient.Client, node string, body map[string]any) error {
	path := "/api/peers"
	if node == autoNode {
		body["node_selection"] = autoNode
	} else {
		n, err := findNode(ctx, client, node)
		if err != nil {
			return err
		}
		path = nodePath(n.ID) + "/peers"
	}
	if err := refer(ctx, f, client, body); err != nil {
		return err
	}
	a, err := client.Do(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return err
	}
	return show(f, a.Data, func(p panelclient.Peer) error {
		f.con.printf("Peer %s was added: %s, public key %s, id %s.\n", printable(p.Name), strings.Join(p.AllowedIPs, ", "), p.PublicKey, p.ID)
		for _, w := range p.Warnings {
			f.con.hint("Note: %s", printable(w))
		}
		if node == autoNode {
			node = p.NodeID
		}
		if p.HasPrivateKey {
			f.con.hint("Next: wgfleet peer config %s %s --qr   (for a phone; > client.conf for wg-quick)", node, handle(p.Name, p.ID))
		} else {
			f.con.hint("The client keeps its own private key. See what it needs: wgfleet peer show %s %s", node, handle(p.Name, p.ID))
		}
		return nil
	})
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// handle is what to type for a node or a peer: its name where a shell takes it as it is.
func handle(name, id string) string {
	if plainName.MatchString(name) {
		return name
	}
	return id
}

func peerSet(f *panelFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "set NODE PEER", Short: "Change a peer and push it to its node; only what is named changes", Args: usage(2, 2),
		Example: "  wgfleet peer set berlin laptop --keepalive 25\n  wgfleet peer set berlin laptop --enabled=false\n" +
			"  wgfleet peer set berlin laptop --clear dns,mtu",
	}
	all := append(fields{{flag: "name", key: "name", help: "new name"}}, peerFields...)
	all.add(c, true)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := all.change(f.con, c)
		if err != nil {
			return err
		}
		return f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			_, p, err := findPeer(ctx, client, args[0], args[1])
			if err != nil {
				return err
			}
			if err := refer(ctx, f, client, body); err != nil {
				return err
			}
			a, err := client.Do(ctx, http.MethodPut, peerPath(p), nil, body)
			if err != nil {
				return err
			}
			return show(f, a.Data, func(p panelclient.Peer) error {
				f.con.printf("Peer %s was changed.\n", printable(p.Name))
				return nil
			})
		})(c, args)
	}
	return c
}

func peerRemove(f *panelFlags) *cobra.Command {
	var yes, offline bool
	c := &cobra.Command{
		Use: "rm NODE PEER", Short: "Remove a peer from the panel and its node", Args: usage(2, 2),
		Example: "  wgfleet peer rm berlin laptop",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&offline, "allow-offline", false, "remove it from the panel though the node can't be reached")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		n, p, err := findPeer(ctx, client, args[0], args[1])
		if err != nil {
			return err
		}
		if !yes {
			err := f.con.confirm(ctx, fmt.Sprintf("Remove peer %s (%s) from node %s? Its client is cut off at once; its keys and its address are lost.",
				firstOf(printable(p.Name), p.PublicKey), strings.Join(p.AllowedIPs, ", "), printable(n.Name)))
			if err != nil {
				return err
			}
		}
		var body any
		if offline {
			body = map[string]any{"allow_offline": true}
		}
		a, err := client.Do(ctx, http.MethodDelete, peerPath(p), nil, body)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(any) error {
			f.con.printf("Peer %s was removed.\n", printable(p.Name))
			return nil
		})
	})
	return c
}
