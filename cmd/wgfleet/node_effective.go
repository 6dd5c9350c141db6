package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

func nodeEffective(f *panelFlags) *cobra.Command {
	var peer string
	c := &cobra.Command{
		Use: "effective NODE", Short: "Say of each setting what holds, and where it comes from", Args: usage(1, 1),
		Long: "Say of each setting of a node, or of one of its peers, what holds, and where it comes from.\n" +
			"What a peer says wins, then its template, the node's override, the node's template, the\nnode's group, and the panel's default.",
		Example: "  wgfleet node effective berlin\n  wgfleet node effective berlin --peer laptop",
	}
	c.Flags().StringVar(&peer, "peer", "", "of this peer, by id, name or public key")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		var n panelclient.Node
		var err error
		query := url.Values{}
		if peer == "" {
			n, err = findNode(ctx, client, args[0])
		} else {
			var p panelclient.Peer
			n, p, err = findPeer(ctx, client, args[0], peer)
			query.Set("peer_id", p.ID)
		}
		if err != nil {
			return err
		}
		a, err := client.Do(ctx, http.MethodGet, nodePath(n.ID)+"/effective", query, nil)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(all []panelclient.Setting) error {
			rows := make([][]string, len(all))
			for i, s := range all {
				var over []string
				for _, o := range s.Overridden {
					over = append(over, plain(o.Value)+" ("+source(o)+")")
				}
				rows[i] = []string{s.Field, plain(s.Value), source(s.Origin), strings.Join(over, ", ")}
			}
			return f.con.table([]string{"SETTING", "VALUE", "FROM", "OVERRIDES"}, rows)
		})
	})
	return c
}

// source puts into words where a value comes from.
func source(o panelclient.Origin) string {
	kind := strings.ReplaceAll(o.Source, "_", " ")
	if o.SourceName == "" {
		return kind
	}
	return kind + " " + o.SourceName
}
