package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

func newRevision(con *console) *cobra.Command {
	g := group("revision", "Revisions: what the panel wanted of a node before, and the way back",
		"  wgfleet revision list berlin\n  wgfleet revision diff berlin 12\n  wgfleet revision rollback berlin 12")
	f := addPanelFlags(con, g)
	g.AddCommand(revisionList(f), revisionShow(f), revisionDiff(f), newRollback(f))
	return g
}

func revisionList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list NODE", Aliases: []string{"ls"}, Short: "List the changes of what the panel wants of a node, the newest first", Args: usage(1, 1),
		Example: "  wgfleet revision list berlin",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			n, err := findNode(ctx, client, args[0])
			if err != nil {
				return err
			}
			return showList(ctx, f, client, nodePath(n.ID)+"/revisions", nil, func(list []panelclient.Revision) error {
				rows := make([][]string, len(list))
				for i, r := range list {
					rows[i] = []string{strconv.FormatUint(r.Revision, 10), r.At.Local().Format(time.DateTime), r.Actor.Name, r.Summary}
				}
				return f.con.table([]string{"REVISION", "AT", "BY", "WHAT"}, rows)
			})
		}),
	}
}

func revisionShow(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show NODE REVISION", Short: "Show what the panel wanted of a node then", Args: usage(2, 2),
		Example: "  wgfleet revision show berlin 12\n  wgfleet revision show berlin 12 --json",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			_, path, err := findRevision(ctx, client, args[0], args[1])
			if err != nil {
				return err
			}
			data, err := fetch(ctx, client, path)
			if err != nil {
				return err
			}
			return show(f, data, f.con.printRevision)
		}),
	}
}

// revisionState is an answer whose node is shown member by member.
type revisionState struct {
	panelclient.Revision
	Node  json.RawMessage    `json:"node"`
	Peers []panelclient.Peer `json:"peers"`
}

func (c *console) printRevision(r revisionState) error {
	c.printf("Revision %d, %s by %s: %s\n", r.Revision.Revision, r.At.Local().Format(time.DateTime), printable(r.Actor.Name), printable(r.Summary))
	if err := c.members(r.Node); err != nil {
		return err
	}
	rows := make([][]string, len(r.Peers))
	for i, p := range r.Peers {
		rows[i] = []string{p.Name, strings.Join(p.AllowedIPs, ","), p.State(), p.PublicKey, p.ID}
	}
	return c.table([]string{"PEER", "ALLOWED IPS", "STATE", "PUBLIC KEY", "ID"}, rows)
}

func revisionDiff(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "diff NODE REVISION [REVISION]", Short: "Compare a revision with another one, or with the present one", Args: usage(2, 3),
		Example: "  wgfleet revision diff berlin 12\n  wgfleet revision diff berlin 12 14",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			_, path, err := findRevision(ctx, client, args[0], args[1])
			if err != nil {
				return err
			}
			query := url.Values{}
			if len(args) == 3 {
				query.Set("to", args[2])
			}
			a, err := client.Do(ctx, http.MethodGet, path+"/diff", query, nil)
			if err != nil {
				return err
			}
			return show(f, a.Data, func(d panelclient.RevisionDiff) error {
				f.con.printf("From revision %d to %d:\n", d.From, d.To)
				f.con.printDiff(d)
				return nil
			})
		}),
	}
}

// findRevision returns the node, and the path of one of its revisions.
func findRevision(ctx context.Context, client *panelclient.Client, node, revision string) (panelclient.Node, string, error) {
	number, err := strconv.ParseUint(revision, 10, 64)
	if err != nil {
		return panelclient.Node{}, "", fmt.Errorf("%q is no revision: expected a number, see `wgfleet revision list %s`", revision, node)
	}
	n, err := findNode(ctx, client, node)
	return n, fmt.Sprintf("%s/revisions/%d", nodePath(n.ID), number), err
}

func (c *console) printDiff(d panelclient.RevisionDiff) {
	if len(d.Node)+len(d.Peers) == 0 {
		c.printf("  nothing differs\n")
	}
	for _, m := range d.Node {
		c.printf("  %s %s: %s becomes %s\n", c.paint(yellow, "~"), m.Field, plain(m.Before), plain(m.After))
	}
	for _, p := range d.Peers {
		sign := signs[p.Op]
		c.printf("  %s %s\n", c.paint(sign.sgr, sign.sign), strings.TrimSpace(p.PublicKey+" "+printable(p.Name)))
		if p.Op == "remove" {
			continue
		}
		for _, m := range p.Changes {
			if m.Field == "public_key" && p.Op == "add" {
				continue
			}
			c.printf("      %s: %s becomes %s\n", m.Field, plain(m.Before), plain(m.After))
		}
	}
}
