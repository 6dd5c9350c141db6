package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// rollback is one run of the command.
type rollback struct {
	*panelFlags
	client        *panelclient.Client
	planOnly, yes bool
}

func newRollback(f *panelFlags) *cobra.Command {
	r := rollback{panelFlags: f}
	c := &cobra.Command{
		Use: "rollback NODE REVISION", Short: "Make what the panel wanted of a node then its wish again", Args: usage(2, 2),
		Long: `Show what goes back to a revision, ask, and make it the panel's wish, as a new revision.
Peers that come back keep their id and their keys. How the agent is reached stays as it is.

Nothing is written to the node: it shows as drift, and wgfleet reconcile puts that right.
What is done is the plan that was shown: where the node's wish changed meanwhile, nothing is.`,
		Example: "  wgfleet revision rollback berlin 12 --plan\n  wgfleet revision rollback berlin 12",
	}
	c.Flags().BoolVar(&r.planOnly, "plan", false, "show the plan and change nothing")
	c.Flags().BoolVar(&r.yes, "yes", false, "do not ask")
	c.MarkFlagsMutuallyExclusive("plan", "yes")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		r.client = client
		n, path, err := findRevision(ctx, client, args[0], args[1])
		if err != nil {
			return err
		}
		return r.run(ctx, n, path+"/rollback")
	})
	return c
}

func (r *rollback) run(ctx context.Context, n panelclient.Node, path string) error {
	plan, data, err := r.ask(ctx, path, "")
	if err != nil {
		return err
	}
	if !r.json {
		r.con.printf("%s: from revision %d back to %d\n", r.con.paint(bold, printable(n.Name)), plan.From, plan.To)
		r.con.printDiff(plan.Diff)
		for _, w := range plan.Warnings {
			r.con.hint("  warning: %s", printable(w))
		}
	}
	if r.planOnly || len(plan.Diff.Node)+len(plan.Diff.Peers) == 0 {
		if r.json {
			return r.con.json(data)
		}
		return nil
	}
	if !r.yes {
		if err := r.con.confirm(ctx, fmt.Sprintf("Make revision %d of node %s the panel's wish again?", plan.To, printable(n.Name))); err != nil {
			return err
		}
	}
	done, data, err := r.ask(ctx, path, plan.PlanID)
	if err != nil {
		return err
	}
	if r.json {
		return r.con.json(data)
	}
	r.con.printf("Node %s was rolled back to revision %d, as revision %d.\n", printable(n.Name), done.To, done.Revision)
	return r.offer(ctx, n, done.Diff)
}

// ask plans, or carries out the plan with that id.
func (r *rollback) ask(ctx context.Context, path, planID string) (panelclient.Rollback, json.RawMessage, error) {
	body := map[string]any{}
	if planID != "" {
		body["plan_id"] = planID
	}
	a, err := r.client.Do(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return panelclient.Rollback{}, nil, err
	}
	plan, err := decode[panelclient.Rollback](a.Data)
	return plan, a.Data, err
}

// offer says that the node is as it was, and puts it right where a person agrees.
func (r *rollback) offer(ctx context.Context, n panelclient.Node, d panelclient.RevisionDiff) error {
	request := panelclient.ReconcileRequest{Missing: true, Mismatched: true}
	command := "wgfleet reconcile " + handle(n.Name, n.ID)
	if slices.ContainsFunc(d.Peers, func(p panelclient.PeerDiff) bool { return p.Op != "add" }) {
		request.PruneOrphaned, command = true, command+" --prune-orphaned"
	}
	if slices.ContainsFunc(d.Node, func(c panelclient.FieldChange) bool {
		return strings.HasPrefix(c.Field, "interface.") || c.Field == "override_listen_port"
	}) {
		request.Interface, command = true, command+" --interface"
	}
	r.con.hint("Nothing was written to the node: it shows as drift until it is reconciled.")
	if agreed := !r.yes && r.con.terminal && r.con.confirm(ctx, "Plan that now?") == nil; !agreed {
		r.con.hint("Next: %s", command)
		return nil
	}
	again := reconciliation{f: r.panelFlags, client: r.client, request: request}
	return again.run(ctx, []panelclient.Node{n})
}
