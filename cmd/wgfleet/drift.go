package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// looked is one look at some nodes, or at all.
type looked struct {
	data    json.RawMessage // for --json
	reports []namedReport
}

type namedReport struct {
	panelclient.Report
	name     string
	disabled bool // and not asked for by name: it does not make the whole unknown
}

func newDrift(con *console) *cobra.Command {
	var watch time.Duration
	c := &cobra.Command{
		Use: "drift [NODE…]", Short: "Show what differs from what it should be", Args: usage(0, -1),
		Long: `Show what differs from what it should be, on the named nodes or on all.

The exit status is 0 in sync, 3 where some node could not be checked, else 2 where
something differs; 1 is an error. Of all nodes, disabled ones are shown and not counted.`,
		Example: `  wgfleet drift
  wgfleet drift berlin --json
  wgfleet drift --watch=30s`,
	}
	f := addPanelFlags(con, c)
	c.Flags().DurationVar(&watch, "watch", 0, "look again and again, and print what changes")
	c.Flags().Lookup("watch").NoOptDefVal = "5s"
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		if c.Flags().Changed("watch") {
			if watch < time.Second {
				return errors.New("--watch: the shortest interval is 1s")
			}
			return f.watchDrift(ctx, client, args, watch)
		}
		l, err := look(ctx, client, args)
		if err != nil {
			return err
		}
		if err := f.printLook(l); err != nil {
			return err
		}
		return l.status()
	})
	return c
}

// look asks for the drift of the named nodes, of all without names.
func look(ctx context.Context, client *panelclient.Client, names []string) (looked, error) {
	all, err := nodes(ctx, client)
	if err != nil {
		return looked{}, err
	}
	if len(names) == 0 {
		return lookAtAll(ctx, client, all)
	}
	var l looked
	byID := map[string]json.RawMessage{}
	for _, name := range names {
		n, err := pickNode(all, name)
		if err != nil {
			return l, err
		}
		data, err := fetch(ctx, client, "/api/drift/nodes/"+url.PathEscape(n.ID))
		if err != nil {
			return l, err
		}
		r, err := decode[panelclient.Report](data)
		if err != nil {
			return l, err
		}
		byID[n.ID] = data
		l.data = data
		l.reports = append(l.reports, namedReport{Report: r, name: n.Name})
	}
	if len(byID) > 1 {
		if l.data, err = json.Marshal(map[string]any{"nodes": byID}); err != nil {
			return l, fmt.Errorf("put the reports together: %w", err)
		}
	}
	return l, nil
}

func lookAtAll(ctx context.Context, client *panelclient.Client, all []panelclient.Node) (looked, error) {
	data, err := fetch(ctx, client, "/api/drift/nodes")
	if err != nil {
		return looked{}, err
	}
	reports, err := decode[struct {
		Nodes map[string]panelclient.Report `json:"nodes"`
	}](data)
	if err != nil {
		return looked{}, err
	}
	l := looked{data: data}
	for _, n := range all {
		r, ok := reports.Nodes[n.ID]
		if !ok {
			r = panelclient.Report{NodeID: n.ID, Status: panelclient.Unknown, Error: "the panel gave no report"}
		}
		delete(reports.Nodes, n.ID)
		l.reports = append(l.reports, namedReport{Report: r, name: n.Name, disabled: !n.Enabled})
	}
	for id, r := range reports.Nodes { // made since the list was read
		l.reports = append(l.reports, namedReport{Report: r, name: id})
	}
	return l, nil
}

// status is nil in sync, else the exit status.
func (l looked) status() error {
	status := exitStatus(0)
	for _, r := range l.reports {
		switch {
		case r.disabled, r.Status == panelclient.InSync:
		case r.Status == panelclient.Drifted:
			status = max(status, exitDrift)
		default: // a verdict that we do not know is no good news
			status = exitUnknown
		}
	}
	if status == 0 {
		return nil
	}
	return status
}

func (f *panelFlags) printLook(l looked) error {
	if f.json {
		return f.con.json(l.data)
	}
	if len(l.reports) == 0 {
		f.con.hint("No nodes yet. Next: wgfleet node add NAME --agent-url http://HOST:8080")
	}
	for _, r := range l.reports {
		f.con.printReport(r)
	}
	return nil
}

// printReport prints one line a node and one a difference.
func (c *console) printReport(r namedReport) {
	name := printable(r.name)
	switch {
	case r.disabled:
		c.printf("%s: disabled, not looked at\n", c.paint(bold, name))
		return
	case r.Status == panelclient.InSync:
		c.printf("%s: %s\n", c.paint(bold, name), c.paint(green, "in sync"))
		c.printIgnored(r.Ignored)
		c.printFileDrift(r.Report)
		return
	case r.Status != panelclient.Drifted:
		c.printf("%s: %s: %s\n", c.paint(bold, name), c.paint(yellow, "unknown"), printable(r.Error))
		return
	}
	c.printf("%s: %s, %d missing, %d mismatched, %d unknown\n", c.paint(bold, name), c.paint(red, "drift"),
		len(r.Missing), len(r.Mismatched), len(r.Unknown))
	for _, p := range r.Missing {
		c.printf("  missing     %s %s %s\n", p.PublicKey, printable(p.Name), plain(p.AllowedIPs))
	}
	for _, p := range r.Mismatched {
		c.printf("  mismatched  %s %s\n", p.PublicKey, printable(p.Name))
		for _, m := range p.Mismatches {
			c.printf("                %s: expected %s, is %s\n", m.Field, plain(m.Expected), plain(m.Actual))
		}
	}
	for _, p := range r.Unknown {
		c.printf("  unknown     %s %s%s\n", p.PublicKey, plain(p.AllowedIPs), standing(p))
	}
	c.printIgnored(r.Ignored)
	for _, m := range r.Interface {
		c.printf("  interface   %s: expected %s, is %s\n", m.Field, plain(m.Expected), plain(m.Actual))
	}
	c.printFileDrift(r.Report)
}

// printIgnored shows unknown peers that are no drift: a rule must not hide them.
func (c *console) printIgnored(peers []panelclient.UnknownPeer) {
	for _, p := range peers {
		c.printf("  ignored     %s %s%s\n", p.PublicKey, plain(p.AllowedIPs), standing(p))
	}
}

// standing says what is known of an unknown peer.
func standing(p panelclient.UnknownPeer) string {
	text := ""
	if p.Origin == "orphaned" {
		text = fmt.Sprintf(", was %s here and is %s", printable(p.Name), p.Why)
	}
	if p.Protected {
		text += ", protected"
	}
	if p.Reason != "" {
		text += ": " + printable(p.Reason)
	}
	return text
}

// watchDrift prints a look whenever it differs from the last one, until it is interrupted. A panel
// that does not answer for a while is told once and does not end it.
func (f *panelFlags) watchDrift(ctx context.Context, client *panelclient.Client, names []string, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last string
	for {
		l, err := look(ctx, client, names)
		var now bytes.Buffer
		if _, lost := errors.AsType[*panelclient.ReachError](err); lost {
			printError(&now, err)
		} else if err != nil {
			return err
		} else {
			// What a person would read tells whether anything changed; the data has the time in it.
			plain := &console{out: &now, err: &now}
			if err := (&panelFlags{con: plain}).printLook(l); err != nil {
				return err
			}
		}
		if text := now.String(); text != last {
			last = text
			if err := f.printChange(l, err); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (f *panelFlags) printChange(l looked, lost error) error {
	if lost != nil {
		printError(f.con.err, lost)
		return nil
	}
	if !f.json {
		f.con.printf("%s\n", time.Now().Format(time.DateTime))
	}
	return f.printLook(l)
}
