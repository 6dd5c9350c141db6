package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/fleet"
	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// demoTimeout bounds the whole demo: a fleet that hangs is no success.
const demoTimeout = 90 * time.Second

// The cast: clients connect to the nodes in turn.
var (
	demoNodes   = []string{"berlin", "lisbon", "tokyo"}
	demoClients = []string{"ada", "barbara", "claude", "dennis", "edsger", "frances", "grace", "hedy", "ivan", "john"}
)

func newDemo(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "Watch a whole fleet drift and be put right, in this process", Args: usage(0, 0),
		Long: `Run a panel, three nodes and ten clients in this process, without privileges and without
leaving a file; change the nodes behind the panel's back, show the drift and the plan, and
put the fleet right.

Everything between them is real WireGuard. The exit status is 0 only if the fleet ends in
sync and traffic flows.`,
		Example: `  wgfleet demo`,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeoutCause(c.Context(), demoTimeout, errors.New("the demo did not end in time"))
			defer cancel()
			return (&demo{con: con, ctx: ctx}).run()
		},
	}
}

// demo is one showing. It is over before its context is, so it keeps it.
type demo struct {
	con   *console
	ctx   context.Context
	fleet *fleet.Fleet

	clients []*fleet.Client
	plans   []step
	stream  *fleet.Session // one client's connection that must outlive everything
	chapter int
}

func (d *demo) run() (err error) {
	d.title("A panel and three nodes, in this process, without privileges")
	if d.fleet, err = fleet.Start(d.ctx, demoNodes...); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.fleet.Close()) }()
	defer d.disconnect()
	for _, step := range []func() error{d.introduce, d.connect, d.misbehave, d.show, d.plan, d.reconcile, d.prove} {
		if err := step(); err != nil {
			if d.ctx.Err() != nil {
				return context.Cause(d.ctx)
			}
			return err
		}
	}
	return nil
}

func (d *demo) title(format string, args ...any) {
	d.chapter++
	d.con.printf("\n%s\n", d.con.paint(bold, fmt.Sprintf("%d. ", d.chapter)+fmt.Sprintf(format, args...)))
}

func (d *demo) say(format string, args ...any) { d.con.printf("   "+format+"\n", args...) }

func (d *demo) introduce() error {
	for _, n := range d.fleet.Nodes {
		d.say("%-8s %-10s WireGuard on %s, agent on %s", n.Name, n.Address, n.Endpoint, n.AgentURL)
		if err := d.fleet.Serve(d.ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) connect() error {
	d.title("Ten standard WireGuard clients, each from the file that the panel hands out")
	for i, name := range demoClients {
		n := d.fleet.Nodes[i%len(d.fleet.Nodes)]
		c, err := d.fleet.Connect(d.ctx, n, name)
		if err != nil {
			return err
		}
		d.clients = append(d.clients, c)
		if err := d.fetch(c); err != nil {
			return err
		}
	}
	var err error
	if d.stream, err = d.clients[0].Dial(d.ctx); err != nil {
		return err
	}
	d.say("%s keeps a TCP session open from here on", demoClients[0])
	return d.stream.Say("before")
}

// fetch sends real packets through a client's tunnel.
func (d *demo) fetch(c *fleet.Client) error {
	start := time.Now()
	page, err := c.Get(d.ctx)
	if err != nil {
		return err
	}
	d.say("%-8s %-10v %q after %d ms", c.Peer.Name, c.Peer.AllowedIPs[0], page, time.Since(start).Milliseconds())
	return nil
}

func (d *demo) disconnect() {
	if d.stream != nil {
		d.stream.Close() //nolint:errcheck // it has done its duty
	}
	for _, c := range d.clients {
		c.Close()
	}
}

// show is what `wgfleet drift` prints.
func (d *demo) show() error {
	d.title("What the panel sees: wgfleet drift")
	l, err := look(d.ctx, d.fleet.Panel, nil)
	if err != nil {
		return err
	}
	for _, r := range l.reports {
		d.con.printReport(r)
		if r.Status != panelclient.Drifted {
			return fmt.Errorf("node %s is %s: expected drift", r.name, r.Status)
		}
	}
	return nil
}

// plan is what `wgfleet reconcile --all --prune --interface --plan` prints.
func (d *demo) plan() error {
	d.title("What it would do: wgfleet reconcile --all --prune --interface --plan")
	all, err := nodes(d.ctx, d.fleet.Panel)
	if err != nil {
		return err
	}
	if d.plans, err = d.reconciliation().plans(d.ctx, all); err != nil {
		return err
	}
	for _, p := range d.plans {
		d.con.printPlan(p)
	}
	return nil
}

func (d *demo) reconcile() error {
	d.title("It does that, and nothing else: wgfleet reconcile --all --prune --interface")
	results, err := d.reconciliation().do(d.ctx, d.plans)
	for _, s := range results {
		d.con.printResult(s)
		err = errors.Join(err, s.failure())
	}
	return err
}

// reconciliation is the reconcile command's own.
func (d *demo) reconciliation() *reconciliation {
	return &reconciliation{
		f:       &panelFlags{con: d.con},
		client:  d.fleet.Panel,
		request: panelclient.ReconcileRequest{Missing: true, Mismatched: true, PruneOrphaned: true, PruneForeign: true, Interface: true},
	}
}

// prove ends the demo: in sync, traffic flows, and who had nothing to do with it noticed nothing.
func (d *demo) prove() error {
	d.title("In sync, and traffic flows")
	l, err := look(d.ctx, d.fleet.Panel, nil)
	if err != nil {
		return err
	}
	for _, r := range l.reports {
		d.con.printReport(r)
	}
	if err := l.status(); err != nil {
		return errors.New("the fleet did not end in sync")
	}
	if err := d.stream.Say("after"); err != nil {
		return fmt.Errorf("the session of %s broke: %w", demoClients[0], err)
	}
	d.say("who was removed shakes hands again: a client notices after 15 s without an answer")
	for _, c := range d.clients {
		if err := d.fetch(c); err != nil {
			return err
		}
	}
	d.say("%s's TCP session is still the one of chapter 2", demoClients[0])
	return nil
}
