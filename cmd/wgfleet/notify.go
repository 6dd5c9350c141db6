package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

const notifyPath = "/api/notifications"

func channelPath(id string) string { return notifyPath + "/" + url.PathEscape(id) }

func newNotify(con *console) *cobra.Command {
	g := group("notify", "Notifications: who is told of what happens", `  wgfleet notify add webhook pager --url-file url --min-severity warning
  wgfleet notify test pager
  wgfleet notify log pager`)
	f := addPanelFlags(con, g)
	g.AddCommand(notifyList(f), notifyShow(f), notifyAdd(f), notifySet(f), notifyRemove(f), notifyTest(f), notifyLog(f))
	return g
}

func notifyList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the notification channels", Args: usage(0, 0),
		Example: "  wgfleet notify list",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return showList(ctx, f, client, notifyPath, nil, func(all []panelclient.Channel) error {
				if len(all) == 0 {
					f.con.hint("Nobody is told of anything yet. Next: wgfleet notify add webhook NAME --url-file FILE")
				}
				rows := make([][]string, len(all))
				for i, c := range all {
					rows[i] = []string{c.Name, c.Kind, channelState(c), receiver(c), told(c.Rules), c.ID}
				}
				return f.con.table([]string{"NAME", "KIND", "STATE", "RECEIVER", "TOLD OF", "ID"}, rows)
			})
		}),
	}
}

func channelState(c panelclient.Channel) string {
	switch {
	case c.Enabled:
		return "enabled"
	case c.DisabledReason != "":
		return "disabled: " + c.DisabledReason
	}
	return "disabled"
}

// receiver is as much of it as the panel shows.
func receiver(c panelclient.Channel) string {
	switch {
	case c.SMTP != nil:
		return strings.Join(c.SMTP.To, ", ")
	case c.URL != nil:
		return *c.URL
	}
	return ""
}

// told puts rules into words.
func told(r panelclient.ChannelRules) string {
	out := []string{r.MinSeverity + " and above"}
	for _, part := range []struct {
		list []string
		what string
	}{{r.Kinds, "kinds"}, {r.Nodes, "nodes"}, {r.Groups, "groups"}} {
		if len(part.list) > 0 {
			out = append(out, fmt.Sprintf("%d %s", len(part.list), part.what))
		}
	}
	return strings.Join(out, ", ")
}

func notifyShow(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one channel, by id or name", Args: usage(1, 1),
		Example: "  wgfleet notify show pager",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			c, err := findChannel(ctx, client, args[0])
			if err != nil {
				return err
			}
			data, err := fetch(ctx, client, channelPath(c.ID))
			if err != nil {
				return err
			}
			return show(f, data, f.con.members)
		}),
	}
}

func notifyRemove(f *panelFlags) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "rm NAME", Short: "Remove a channel and its log", Args: usage(1, 1),
		Example: "  wgfleet notify rm pager",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		c, err := findChannel(ctx, client, args[0])
		if err != nil {
			return err
		}
		if !yes {
			err := f.con.confirm(ctx, fmt.Sprintf("Remove the %s channel %s with its log? %s is told of nothing any more.",
				c.Kind, printable(c.Name), printable(receiver(c))))
			if err != nil {
				return err
			}
		}
		a, err := client.Do(ctx, http.MethodDelete, channelPath(c.ID), nil, nil)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(any) error {
			f.con.printf("Channel %s was removed.\n", printable(c.Name))
			return nil
		})
	})
	return c
}

func notifyTest(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "test NAME", Short: "Send a test now and say what came of it", Args: usage(1, 1),
		Long:    "Send a test now and say what came of it. The exit status is 1 where the receiver does not take it.",
		Example: "  wgfleet notify test pager",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			c, err := findChannel(ctx, client, args[0])
			if err != nil {
				return err
			}
			a, err := client.Do(ctx, http.MethodPost, channelPath(c.ID)+"/test", nil, nil)
			if err != nil {
				return err
			}
			d, err := decode[panelclient.Delivery](a.Data)
			if err != nil {
				return err
			}
			good := d.Status == panelclient.Delivered
			err = show(f, a.Data, func(panelclient.Delivery) error {
				if good {
					f.con.printf("%s %s took the test (%s), delivery %s.\n", f.con.paint(green, "ok"), printable(c.Name), codeOf(d), d.ID)
				}
				return nil
			})
			if err == nil && !good {
				err = fmt.Errorf("channel %s: %s", printable(c.Name), printable(outcomeOf(d)))
			}
			return err
		}),
	}
}

func codeOf(d panelclient.Delivery) string {
	if d.Code == nil {
		return "no answer"
	}
	return strconv.Itoa(*d.Code)
}

// outcomeOf is why the last attempt failed, and what the receiver said.
func outcomeOf(d panelclient.Delivery) string {
	if d.Reply == "" {
		return d.Error
	}
	return firstOf(d.Error, codeOf(d)) + ": " + d.Reply
}

func notifyLog(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "log NAME", Short: "What a channel was sent, the newest first", Args: usage(1, 1),
		Example: "  wgfleet notify log pager\n  wgfleet notify log pager --json | jq '.[] | select(.status == \"failed\")'",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			c, err := findChannel(ctx, client, args[0])
			if err != nil {
				return err
			}
			return showList(ctx, f, client, channelPath(c.ID)+"/deliveries", nil, func(all []panelclient.Delivery) error {
				rows := make([][]string, len(all))
				for i, d := range all {
					what, next := strconv.Itoa(d.Events), ""
					if d.Test {
						what = "test"
					}
					if d.NextAttempt != nil {
						next = d.NextAttempt.UTC().Format(time.DateTime)
					}
					rows[i] = []string{d.At.UTC().Format(time.DateTime), what, d.Status, strconv.Itoa(d.Attempts), codeOf(d), next, outcomeOf(d), d.ID}
				}
				return f.con.table([]string{"AT (UTC)", "EVENTS", "STATUS", "TRIES", "CODE", "NEXT TRY", "LAST OUTCOME", "DELIVERY"}, rows)
			})
		}),
	}
}

// findChannel returns the channel with that id, else the one with that name.
func findChannel(ctx context.Context, client *panelclient.Client, which string) (panelclient.Channel, error) {
	list, err := client.List(ctx, notifyPath, nil)
	if err != nil {
		return panelclient.Channel{}, err
	}
	all, err := decodeAll[panelclient.Channel](list)
	if err != nil {
		return panelclient.Channel{}, err
	}
	named := panelclient.Channel{}
	for _, c := range all {
		if c.ID == which {
			return c, nil
		}
		if c.Name == which { // names are unique
			named = c
		}
	}
	if named.ID == "" {
		return named, fmt.Errorf("there is no notification channel %q: see `wgfleet notify list`", which)
	}
	return named, nil
}
