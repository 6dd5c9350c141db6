package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// reconciliation is one run of the command.
type reconciliation struct {
	f        *panelFlags
	client   *panelclient.Client
	request  panelclient.ReconcileRequest
	planOnly bool
	yes      bool

	waves       []string // of a rollout over several nodes
	maxParallel int
}

// step is one node of a reconciliation.
type step struct {
	node panelclient.Node
	data json.RawMessage
	panelclient.Reconciled
}

func newReconcile(con *console) *cobra.Command {
	r := reconciliation{request: panelclient.ReconcileRequest{Missing: true, Mismatched: true}}
	var all, prune bool
	var group string
	c := &cobra.Command{
		Use: "reconcile NODE…|--group GROUP|--all", Short: "Plan, show, ask, apply and verify what puts nodes right", Args: usage(0, -1),
		Long: `Plan what puts the named nodes right, show it, ask, do it, and read it back.

Peers that are as they should be are never touched. Peers that the panel does not want
are left alone unless --prune removes them (--prune-orphaned only those that it once had,
--prune-foreign only those that it does not know) or --adopt takes them into the panel. With
--accept what differs becomes the panel's wish. The interface's own settings (port,
addresses, …) are shown, and put right with --interface.

What is done is the plan that was shown: where a node changed meanwhile, nothing is.
Several nodes are done side by side, with --waves some before others: the first node that
can't be verified lets no other begin.`,
		Example: `  wgfleet reconcile berlin --plan
  wgfleet reconcile berlin --prune
  wgfleet reconcile berlin --interface --only interface.mtu
  wgfleet reconcile --all --waves 1,10%,rest --max-parallel 4`,
	}
	r.f = addPanelFlags(con, c)
	flags := c.Flags()
	flags.BoolVar(&all, "all", false, "all enabled nodes")
	flags.StringVar(&group, "group", "", "the enabled nodes of this group, by id or name")
	flags.StringSliceVar(&r.waves, "waves", nil, "how many nodes before others begin: numbers, percentages, rest; as in 1,10%,rest")
	flags.IntVar(&r.maxParallel, "max-parallel", 0, "nodes at the same time (default 8)")
	flags.BoolVar(&r.planOnly, "plan", false, "show the plan and change nothing")
	flags.BoolVar(&r.yes, "yes", false, "do not ask")
	flags.BoolVar(&prune, "prune", false, "remove peers that the panel does not want")
	flags.BoolVar(&r.request.PruneOrphaned, "prune-orphaned", false, "remove those of them that the panel once had on the node")
	flags.BoolVar(&r.request.PruneForeign, "prune-foreign", false, "remove those of them that it does not know")
	flags.BoolVar(&r.request.AdoptUnknown, "adopt", false, "take peers that the panel does not know into the panel, untouched")
	flags.BoolVar(&r.request.Accept, "accept", false, "what differs on the node becomes the panel's wish")
	flags.BoolVar(&r.request.Interface, "interface", false, "the interface's own settings as well")
	flags.StringSliceVar(&r.request.Only, "only", nil, "only these actions of the plan: public keys and interface.FIELD")
	flags.BoolVar(&r.request.Atomic, "atomic", false, "all of a node's changes or none")
	flags.BoolVar(&r.request.AllowMassRemoval, "force", false, "with --prune: even more than max_delete_percent of a node's peers")
	for _, flag := range []string{"prune", "prune-orphaned", "prune-foreign"} {
		c.MarkFlagsMutuallyExclusive(flag, "adopt")
	}
	c.MarkFlagsMutuallyExclusive("plan", "yes")
	c.RunE = r.f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		if count(all, group != "", len(args) > 0) != 1 {
			return fmt.Errorf("name the nodes, or give --group or --all: see `%s --help`", c.CommandPath())
		}
		r.client = client
		r.request.PruneOrphaned = r.request.PruneOrphaned || prune
		r.request.PruneForeign = r.request.PruneForeign || prune
		r.request.Mismatched = !r.request.Accept
		known, err := nodes(ctx, client)
		if err != nil {
			return err
		}
		if group != "" {
			g, err := groups(r.f).find(ctx, client, group)
			if err != nil {
				return err
			}
			known = slices.DeleteFunc(known, func(n panelclient.Node) bool { return n.GroupID == nil || *n.GroupID != g.ID })
		}
		chosen, err := choose(known, args)
		if err != nil {
			return err
		}
		return r.run(ctx, chosen)
	})
	return c
}

// count is how many are true.
func count(all ...bool) int {
	n := 0
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
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
	plans, failed := r.plans(ctx, chosen)
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
	results, err := r.do(ctx, todo)
	failed = errors.Join(failed, err, r.printJSON(results))
	for _, s := range results {
		if !r.f.json {
			r.f.con.printResult(s)
		}
		failed = errors.Join(failed, s.failure())
	}
	return failed
}

// plansAtOnce is how many plans are asked for at the same time: a node that is away delays no other.
const plansAtOnce = 16

// plans asks for the plan of every node.
func (r *reconciliation) plans(ctx context.Context, chosen []panelclient.Node) ([]step, error) {
	request := r.request
	request.DryRun = true
	made, errs := make([]*step, len(chosen)), make([]error, len(chosen))
	var asking errgroup.Group
	asking.SetLimit(plansAtOnce)
	for i, n := range chosen {
		asking.Go(func() error {
			p, err := r.ask(ctx, n, request)
			if errs[i] = err; err == nil {
				made[i] = &p
			}
			return nil
		})
	}
	_ = asking.Wait() // the errors are in errs
	var plans []step
	for _, p := range made {
		if p != nil {
			plans = append(plans, *p)
		}
	}
	if ctx.Err() != nil {
		return plans, context.Cause(ctx)
	}
	return plans, errors.Join(errs...)
}

// do carries out the plans that were shown, and those alone.
func (r *reconciliation) do(ctx context.Context, plans []step) ([]step, error) {
	if len(plans) > 1 {
		return r.rollOut(ctx, plans)
	}
	var results []step
	var failed error
	for _, p := range plans { // of one node
		request := r.request
		request.PlanID = p.Plan.ID
		done, err := r.ask(ctx, p.node, request)
		if ctx.Err() != nil {
			return results, err
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		results = append(results, done)
	}
	return results, failed
}

func (r *reconciliation) ask(ctx context.Context, n panelclient.Node, request panelclient.ReconcileRequest) (step, error) {
	a, err := r.client.Do(ctx, http.MethodPost, "/api/drift/nodes/"+url.PathEscape(n.ID)+"/reconcile", nil, request)
	var done panelclient.Reconciled
	if err == nil {
		done, err = decode[panelclient.Reconciled](a.Data)
	}
	if err != nil {
		return step{}, fmt.Errorf("node %s: %w", printable(n.Name), err)
	}
	return step{node: n, data: a.Data, Reconciled: done}, nil
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

// count is how many things the plan does.
func (s step) count() int {
	return len(s.Added) + len(s.Updated) + len(s.Removed) + len(s.Adopted) + len(s.Accepted) + len(s.Interface)
}

func (s step) failure() error {
	name := printable(s.node.Name)
	switch {
	case len(s.Errors) > 0:
		return fmt.Errorf("node %s: %d changes failed: see `wgfleet drift %s`", name, len(s.Errors), s.node.ID)
	case !s.Verified:
		return fmt.Errorf("node %s: the changes could not be read back: see `wgfleet drift %s`", name, s.node.ID)
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
		if n := len(p.takes()); n > 0 {
			part += fmt.Sprintf(", TAKE %d addresses from unknown peers", n)
		}
		if n := len(p.Accepted); n > 0 {
			part += fmt.Sprintf(", accept %d differences", n)
		}
		if n := len(p.Interface); n > 0 {
			part += fmt.Sprintf(", write %d settings of the interface", n)
		}
		parts = append(parts, part)
	}
	return "Do this (" + strings.Join(parts, "; ") + ")?"
}

// takes are the addresses that unknown peers lose.
func (s step) takes() []panelclient.Take {
	var all []panelclient.Take
	for _, p := range s.Plan.Actions {
		all = append(all, p.Takes...)
	}
	return all
}
