package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

const policyPath = "/api/drift/policy"

// policyFields are flags for what a policy's body holds at its top; healFields for what is in heal.
var (
	policyFields = fields{
		{flag: "mode", key: "mode", clear: true, help: "off: nobody looks; report: what differs is shown; heal: and put right"},
		{flag: "interval", key: "interval", clear: true, help: "between two looks at most, for example 5m; changes are seen sooner"},
		{flag: "max-delete-percent", key: "max_delete_percent", kind: number, clear: true, help: "of a node's peers, that may be removed at once"},
		{flag: "suspended-until", key: "suspended_until", clear: true, help: "no healing before, for example 2026-12-31T00:00:00Z"},
		{flag: "windows", key: "windows", clear: true},
	}
	healFields = fields{
		{flag: "heal-missing", key: "missing", kind: boolean, clear: true, help: "healing adds missing peers"},
		{flag: "heal-mismatched", key: "mismatched", kind: boolean, clear: true, help: "healing updates mismatched peers"},
		{flag: "heal-orphaned", key: "prune_orphaned", kind: boolean, clear: true, help: "healing removes peers that were disabled, deleted or have expired"},
		{flag: "heal-foreign", key: "prune_foreign", kind: boolean, clear: true, help: "healing removes peers that the panel does not know"},
		{flag: "heal-interface", key: "interface", kind: boolean, clear: true, help: "healing writes the settings of the interface"},
	}
)

func newPolicy(con *console) *cobra.Command {
	g := group("policy", "How nodes are watched and healed", "  wgfleet policy show\n  wgfleet policy set berlin --mode heal --window '0 2 * * *;2h;Europe/Berlin'")
	f := addPanelFlags(con, g)
	g.AddCommand(policyShow(f), policySet(f))
	return g
}

func policyShow(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show [NODE]", Short: "Show the policy of a node, or of all nodes that say nothing themselves", Args: usage(0, 1),
		Example: "  wgfleet policy show berlin",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			path := policyPath
			if len(args) == 1 {
				n, err := findNode(ctx, client, args[0])
				if err != nil {
					return err
				}
				path = nodePath(n.ID)
			}
			data, err := fetch(ctx, client, path)
			if err != nil {
				return err
			}
			return f.showPolicy(data)
		}),
	}
}

// showPolicy prints what of an answer is the policy that holds.
func (f *panelFlags) showPolicy(data json.RawMessage) error {
	p, err := decode[struct {
		Drift     json.RawMessage `json:"drift"`
		Effective json.RawMessage `json:"effective_drift"`
		Healing   string          `json:"healing"`
	}](data)
	if err != nil {
		return err
	}
	if f.json {
		return f.con.json(map[string]json.RawMessage{"drift": p.Drift, "effective_drift": p.Effective})
	}
	if err := f.con.members(p.Effective); err != nil {
		return err
	}
	if p.Healing != "" {
		f.con.printf("now: %s\n", printable(p.Healing))
	}
	return nil
}

func policySet(f *panelFlags) *cobra.Command {
	var windows []string
	var suspend time.Duration
	c := &cobra.Command{
		Use: "set [NODE]", Short: "Change the policy of a node, or of all nodes; only what is named changes", Args: usage(0, 1),
		Long: `Change the policy of a node, or without NODE of all nodes that say nothing themselves;
only what is named changes. What is cleared is as for all nodes again, of all nodes the default.

A window says when healing is allowed: CRON;DURATION;TIMEZONE, where CRON is minute, hour, day
of month, month and day of week. Peers that were disabled, deleted or have expired are
taken off a node that heals at any time.`,
		Example: `  wgfleet policy set --mode report --interval 1m
  wgfleet policy set berlin --mode heal --heal-foreign --window '0 2 * * *;2h;Europe/Berlin'
  wgfleet policy set berlin --suspend 4h
  wgfleet policy set berlin --clear mode,windows`,
	}
	flags := policyFields[:len(policyFields)-1]
	all := append(append(fields{}, policyFields...), healFields...)
	append(append(fields{}, flags...), healFields...).add(c, false)
	c.Flags().StringArrayVar(&windows, "window", nil, "CRON;DURATION;TIMEZONE: healing is allowed then; may be given more than once")
	c.Flags().DurationVar(&suspend, "suspend", 0, "no healing for so long")
	c.Flags().StringSlice("clear", nil, "drop fields, so that what holds for all holds again: "+strings.Join(all.clearable(), ", "))
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := policyBody(f.con, c, windows, suspend)
		if err != nil {
			return err
		}
		client, err := f.client()
		if err != nil {
			return err
		}
		path, sent := policyPath, any(body)
		if len(args) == 1 {
			n, err := findNode(c.Context(), client, args[0])
			if err != nil {
				return err
			}
			path, sent = nodePath(n.ID), map[string]any{"drift": body}
		}
		a, err := client.Do(c.Context(), http.MethodPut, path, nil, sent)
		if err != nil {
			return err
		}
		return f.showPolicy(a.Data)
	}
	return c
}

func policyBody(con *console, c *cobra.Command, windows []string, suspend time.Duration) (map[string]any, error) {
	cleared, err := c.Flags().GetStringSlice("clear")
	if err != nil {
		return nil, fmt.Errorf("--clear: %w", err)
	}
	body, heal := map[string]any{}, map[string]any{}
	for _, part := range []struct {
		fields fields
		into   map[string]any
	}{{policyFields, body}, {healFields, heal}} {
		if err := part.fields.collect(con, c, part.into); err != nil {
			return nil, err
		}
	}
	for _, name := range cleared {
		switch {
		case policyFields.clearInto(name, body), healFields.clearInto(name, heal):
		default:
			return nil, fmt.Errorf("--clear: %q can't be cleared: expected one of %s", name,
				strings.Join(append(policyFields.clearable(), healFields.clearable()...), ", "))
		}
	}
	if len(heal) > 0 {
		body["heal"] = heal
	}
	if suspend != 0 {
		if _, given := body["suspended_until"]; given || suspend < 0 {
			return nil, errors.New("--suspend: a time to come is expected, and not --suspended-until as well")
		}
		body["suspended_until"] = time.Now().Add(suspend).UTC().Format(time.RFC3339)
	}
	if windows != nil {
		if _, given := body["windows"]; given {
			return nil, errors.New("--window: windows are cleared by --clear as well: give one of both")
		}
		list := make([]map[string]string, len(windows))
		for i, w := range windows {
			parts := strings.Split(w, ";")
			if len(parts) < 2 || len(parts) > 3 {
				return nil, fmt.Errorf("--window: %q: expected CRON;DURATION;TIMEZONE, for example '0 2 * * *;2h;Europe/Berlin'", w)
			}
			list[i] = map[string]string{"cron": parts[0], "duration": strings.TrimSpace(parts[1])}
			if len(parts) == 3 {
				list[i]["time_zone"] = parts[2]
			}
		}
		body["windows"] = list
	}
	if len(body) == 0 {
		return nil, fmt.Errorf("nothing to change: see `%s --help`", c.CommandPath())
	}
	return body, nil
}
