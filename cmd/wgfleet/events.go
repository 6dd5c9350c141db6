package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

const eventsPath = "/api/events"

// eventsCommand is what `wgfleet events` was told.
type eventsCommand struct {
	*panelFlags
	node, kind, severity string
	since                time.Duration
	limit                int
	follow               bool
}

func newEvents(con *console) *cobra.Command {
	c := &cobra.Command{
		Use: "events", Short: "Show what happened: checks, plans, actions, who asked and how it ended", Args: usage(0, 0),
		Long: `Show what happened, the newest last: verdicts that changed, plans, each action with what
was before and after it, who asked for it and how it ended.

With --follow it goes on with what happens from now on (--since adds what was before), and
comes back to a panel that was away without missing anything. With --json, one object a line.`,
		Example: `  wgfleet events --node berlin --since 24h
  wgfleet events --follow
  wgfleet events --follow --severity warning --json | jq -r .message`,
	}
	e := &eventsCommand{panelFlags: addPanelFlags(con, c)}
	flags := c.Flags()
	flags.StringVar(&e.node, "node", "", "of this node only, by id or name")
	flags.StringVar(&e.kind, "kind", "", "of these kinds only, with commas between")
	flags.StringVar(&e.severity, "severity", "", "info, warning or critical, and those above")
	flags.DurationVar(&e.since, "since", 0, "not older than this, for example 24h")
	flags.IntVar(&e.limit, "limit", 100, "the newest so many; not with --follow")
	flags.BoolVarP(&e.follow, "follow", "f", false, "go on with what happens")
	c.RunE = e.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
		query, err := e.query(ctx, client)
		if err != nil {
			return err
		}
		if e.follow {
			if c.Flags().Changed("limit") {
				return errors.New("--limit: with --follow there is none; --since says how far back to begin")
			}
			return e.followEvents(ctx, client, query)
		}
		return e.list(ctx, client, query)
	})
	return c
}

func (e *eventsCommand) query(ctx context.Context, client *panelclient.Client) (url.Values, error) {
	q := url.Values{}
	for name, value := range map[string]string{"kind": e.kind, "severity": e.severity} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if e.since < 0 {
		return nil, errors.New("--since: a time that has passed is expected, for example 24h")
	}
	if e.since > 0 {
		q.Set("since", time.Now().Add(-e.since).UTC().Format(time.RFC3339))
	}
	if e.node == "" {
		return q, nil
	}
	n, err := findNode(ctx, client, e.node)
	if err != nil {
		return nil, err
	}
	q.Set("node", n.ID)
	return q, nil
}

// list prints the newest events, in the order in which they happened.
func (e *eventsCommand) list(ctx context.Context, client *panelclient.Client, query url.Values) error {
	if e.limit < 1 {
		return errors.New("--limit: 1 or more is expected")
	}
	query = maps.Clone(query)
	query.Set("limit", strconv.Itoa(e.limit))
	a, err := client.Do(ctx, "GET", eventsPath, query, nil)
	if err != nil {
		return err
	}
	list, err := decode[[]json.RawMessage](a.Data)
	if err != nil {
		return err
	}
	if len(list) == 0 && !e.json {
		e.con.hint("Nothing happened, or nothing that was asked for.")
	}
	for _, data := range slices.Backward(list) {
		if err := e.print(data); err != nil {
			return err
		}
	}
	return nil
}

// followPauses are how long a panel that went away is left alone.
const (
	firstFollowPause = time.Second
	lastFollowPause  = 30 * time.Second
)

// followEvents prints what happens until it is interrupted. It tells once that the panel went away, and asks
// again for what came after the last event that it has.
func (e *eventsCommand) followEvents(ctx context.Context, client *panelclient.Client, query url.Values) error {
	last, pause := "", firstFollowPause
	for told := false; ; {
		for event, err := range client.Stream(ctx, eventsPath, query, last) {
			if _, lost := errors.AsType[*panelclient.ReachError](err); lost && !told {
				printError(e.con.err, err)
				told = true
			} else if err != nil && !lost {
				return err
			} else if err == nil {
				last, pause, told = event.ID, firstFollowPause, false
				if err := e.print(event.Data); err != nil {
					return err
				}
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, lastFollowPause)
	}
}

// sleep waits, or says why not.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// print shows an event: one object a line for programs.
func (e *eventsCommand) print(data json.RawMessage) error {
	if data == nil {
		return nil
	}
	if e.json {
		e.con.printf("%s\n", data)
		return nil
	}
	v, err := decode[panelclient.Event](data)
	if err != nil {
		return err
	}
	e.con.printEvent(v)
	return nil
}

// printEvent prints one line an event and one a change.
func (c *console) printEvent(e panelclient.Event) {
	colour := map[string]string{"warning": yellow, "critical": red}[e.Severity]
	kind := e.Kind
	if colour != "" {
		kind = c.paint(colour, kind)
	}
	who := ""
	if e.Actor.Kind == "key" {
		who = " (" + printable(e.Actor.Name) + ")"
	}
	c.printf("%s  %s  %s  %s%s\n", e.At.Format(time.DateTime), c.paint(bold, firstOf(printable(e.NodeName), "-")), kind, printable(e.Message), who)
	for _, x := range e.Changes {
		c.printf("  %-10s %-8s %s\n", x.Op, x.Outcome, strings.Join(nonEmpty(
			x.Peer, printable(x.Name), beforeAfter(x.Before, x.After), printable(x.Error)), " "))
	}
}

func nonEmpty(parts ...string) []string {
	return slices.DeleteFunc(parts, func(s string) bool { return s == "" })
}

// beforeAfter names what differs between two states; of one that came or went, all of it.
func beforeAfter(before, after map[string]any) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(merged(before, after))) {
		was, is := plain(before[name]), plain(after[name])
		switch {
		case before == nil:
			parts = append(parts, fmt.Sprintf("%s %s", name, is))
		case after == nil:
			parts = append(parts, fmt.Sprintf("%s %s", name, was))
		case was != is:
			parts = append(parts, fmt.Sprintf("%s %s → %s", name, was, is))
		}
	}
	return strings.Join(parts, ", ")
}

func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, b)
	return all
}
