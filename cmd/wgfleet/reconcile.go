package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// reconciliation is one run of the command.
type reconciliation struct {
	f        *panelFlags
	client   *panelclient.Client
	request  panelclient.ReconcileRequest
	planOnly bool
	yes      bool
}

// step is one node of a reconciliation.
type step struct {
	node panelclient.Node
	data json.RawMessage
	panelclient.Reconciled
}

func newReconcile(con *console) *cobra.Command {
	r := reconciliation{request: panelclient.ReconcileRequest{Missing: true, Mismatched: true}}
	var all bool
	c := &cobra.Command{
		Use: "reconcile NODE…|--all", Short: "Plan, show, ask, apply and verify what puts nodes right", Args: usage(0, -1),
		Long: `Plan what puts the named nodes right, show it, ask, do it, and read it back.

Peers that are as they should be are never touched. Peers that the panel does not know
are left alone unless --prune removes them or --adopt takes them into the panel.`,
		Example: `  wgfleet reconcile berlin --plan
  wgfleet reconcile berlin --prune
  wgfleet reconcile --all --yes`,
	}
	r.f = addPanelFlags(con, c)
	flags := c.Flags()
	flags.BoolVar(&all, "all", false, "all enabled nodes")
	flags.BoolVar(&r.planOnly, "plan", false, "show the plan and change nothing")
	flags.BoolVar(&r.yes, "yes", false, "do not ask")
	flags.BoolVar(&r.request.RemoveUnknown, "prune", false, "remove peers that the panel does not know")
	flags.BoolVar(&r.request.AdoptUnknown, "adopt", false, "take peers that the panel does not know into the panel, untouched")
	flags.BoolVar(&r.request.Atomic, "atomic", false, "all of a node's changes or none")
	flags.BoolVar(&r.request.AllowMassRemoval, "force", false, "with --prune: even more than half of a node's peers")
	c.MarkFlagsMutuallyExclusive("prune", "adopt")
	c.MarkFlagsMutuallyExclusive("plan", "yes")
	c.RunE = r.f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		if all == (len(args) > 0) {
			return fmt.Errorf("name the nodes, or give --all: see `%s --help`", c.CommandPath())
		}
		r.client = client
		known, err := nodes(ctx, client)
		if err != nil {
			return err
		}
		chosen, err := choose(known, args)
		if err != nil {
			return err
		}
		return r.run(ctx, chosen)
	})
	return c
}

// choose returns the named nodes, or all enabled ones.
func choose(known []panelclient.Node, names []string) ([]panelclient.Node, error) {
	var out []panelclient.Node
	if len(names) == 0 {
		for _, n := range known {
			if n.Enabled {
				out = append(out, n)
			}
		}
		return out, nil
	}
	for _, name := range names {
		n, err := pickNode(known, name)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// run goes on past a node that fails and says so at the end.
func (r *reconciliation) run(ctx context.Context, chosen []panelclient.Node) error {
	plans, failed := r.each(ctx, chosen, true)
	if ctx.Err() != nil {
		return failed
	}
	todo := plans[:0:0]
	for _, p := range plans {
		if !r.f.json {
			r.f.con.printPlan(p)
		}
		if p.count() > 0 {
			todo = append(todo, p)
		}
	}
	if r.planOnly || len(todo) == 0 {
		return errors.Join(r.printJSON(plans), failed)
	}
	if !r.yes {
		if err := r.f.con.confirm(ctx, question(todo)); err != nil {
			return errors.Join(failed, err)
		}
	}
	targets := make([]panelclient.Node, len(todo))
	for i, p := range todo {
		targets[i] = p.node
	}
	results, err := r.each(ctx, targets, false)
	failed = errors.Join(failed, err, r.printJSON(results))
	for _, s := range results {
		if !r.f.json {
			r.f.con.printResult(s)
		}
		failed = errors.Join(failed, s.failure())
	}
	return failed
}

// each asks for the plan or the work on every node.
func (r *reconciliation) each(ctx context.Context, chosen []panelclient.Node, dryRun bool) ([]step, error) {
	request := r.request
	request.DryRun = dryRun
	var steps []step
	var failed error
	for _, n := range chosen {
		a, err := r.client.Do(ctx, http.MethodPost, "/api/drift/nodes/"+url.PathEscape(n.ID)+"/reconcile", nil, request)
		var done panelclient.Reconciled
		if err == nil {
			done, err = decode[panelclient.Reconciled](a.Data)
		}
		if ctx.Err() != nil {
			return steps, err
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("node %s: %w", printable(n.Name), err))
			continue
		}
		steps = append(steps, step{node: n, data: a.Data, Reconciled: done})
	}
	return steps, failed
}

// printJSON prints one node's data as it is, that of several by id.
func (r *reconciliation) printJSON(steps []step) error {
	if !r.f.json {
		return nil
	}
	if len(steps) == 1 {
		return r.f.con.json(steps[0].data)
	}
	byID := map[string]json.RawMessage{}
	for _, s := range steps {
		byID[s.node.ID] = s.data
	}
	return r.f.con.json(map[string]any{"nodes": byID})
}

func (s step) count() int { return len(s.Added) + len(s.Updated) + len(s.Removed) + len(s.Adopted) }

func (s step) failure() error {
	if len(s.Errors) > 0 {
		return fmt.Errorf("node %s: %d changes failed: see `wgfleet drift %s`", printable(s.node.Name), len(s.Errors), s.node.ID)
	}
	if !s.Verified {
		return fmt.Errorf("node %s: the changes could not be read back: see `wgfleet drift %s`", printable(s.node.Name), s.node.ID)
	}
	return nil
}

func question(todo []step) string {
	var parts []string
	for _, p := range todo {
		part := fmt.Sprintf("%s: add %d, update %d", printable(p.node.Name), len(p.Added), len(p.Updated))
		if len(p.Removed) > 0 {
			part += fmt.Sprintf(", REMOVE %d for good", len(p.Removed))
		}
		if len(p.Adopted) > 0 {
			part += fmt.Sprintf(", adopt %d", len(p.Adopted))
		}
		parts = append(parts, part)
	}
	return "Do this (" + strings.Join(parts, "; ") + ")?"
}

func (c *console) printPlan(p step) {
	if p.count() == 0 {
		c.printf("%s: nothing to do\n", c.paint(bold, printable(p.node.Name)))
		return
	}
	c.printf("%s: add %d, update %d, remove %d, adopt %d\n", c.paint(bold, printable(p.node.Name)),
		len(p.Added), len(p.Updated), len(p.Removed), len(p.Adopted))
	names := p.names()
	for _, part := range []struct {
		sign, sgr string
		keys      []string
	}{{"+", green, p.Added}, {"~", yellow, p.Updated}, {"-", red, p.Removed}, {"=", bold, p.Adopted}} {
		for _, k := range part.keys {
			c.printf("  %s %s %s\n", c.paint(part.sgr, part.sign), k, printable(names[k]))
		}
	}
}

// names are those that the report beside the plan knows.
func (s step) names() map[string]string {
	names := map[string]string{}
	if s.Residual == nil {
		return names
	}
	for _, p := range s.Residual.Missing {
		names[p.PublicKey] = p.Name
	}
	for _, p := range s.Residual.Mismatched {
		names[p.PublicKey] = p.Name
	}
	return names
}

func (c *console) printResult(s step) {
	verdict := c.paint(green, "verified")
	if !s.Verified {
		verdict = c.paint(red, "not verified")
	}
	c.printf("%s: added %d, updated %d, removed %d, adopted %d, %d errors, %s\n", c.paint(bold, printable(s.node.Name)),
		len(s.Added), len(s.Updated), len(s.Removed), len(s.Adopted), len(s.Errors), verdict)
	for _, e := range s.Errors {
		c.printf("  %s %s %s: %s\n", c.paint(red, "!"), e.Action, e.Peer, printable(e.Error))
	}
	if s.Residual != nil && len(s.Residual.Unknown) > 0 {
		c.hint("  %d peers that the panel does not know were left alone (--prune removes, --adopt takes them over)", len(s.Residual.Unknown))
	}
}
