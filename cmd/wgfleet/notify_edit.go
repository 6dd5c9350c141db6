package main

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// Fields of a channel: those of every kind, and those of each.
var (
	channelFields = fields{
		{flag: "enabled", key: "enabled", kind: boolean, help: "whether it is told"},
		{flag: "debounce", key: "debounce", help: "how long events are collected before they are told together (default 30s)"},
		{flag: "min-severity", key: "rules.min_severity", help: "info (the default), warning or critical, and above"},
		{flag: "kinds", key: "rules.kinds", kind: list, help: "kinds of events, as drift.changed; an empty text for all"},
		{flag: "nodes", key: "rules.nodes", kind: list, help: "nodes, by id or name; an empty text for all"},
		{flag: "groups", key: "rules.groups", kind: list, help: "groups of nodes, by id or name; an empty text for all"},
	}
	urlFields = fields{
		{flag: "url", key: "url", help: "where to (others can see flags: better --url-file where it holds a token)"},
		{flag: "url-file", key: "url", kind: fromFile, help: "file with the URL, - for standard input"},
	}
	webhookFields = append(fields{
		{flag: "secret-file", key: "secret", kind: fromFile, help: "file with the secret that signs, whsec_…; an empty file has one made and shown"},
	}, urlFields...)
	smtpFields = fields{
		{flag: "host", key: "smtp.host", help: "mail server"},
		{flag: "port", key: "smtp.port", kind: number, help: "its port (default by --tls: 587, 465 or 25)"},
		{flag: "tls", key: "smtp.tls", help: "starttls (the default), tls or none"},
		{flag: "username", key: "smtp.username", help: "login at the mail server"},
		{flag: "password-file", key: "smtp.password", kind: fromFile, help: "file with the password, - for standard input"},
		{flag: "from", key: "smtp.from", help: "sender's address"},
		{flag: "to", key: "smtp.to", kind: list, help: "comma list of recipients"},
	}
)

func notifyAdd(f *panelFlags) *cobra.Command {
	g := group("add", "Add a channel", "  wgfleet notify add webhook pager --url-file url")
	g.AddCommand(
		notifyAddKind(f, "webhook", "a webhook, signed as Standard Webhooks has it", webhookFields,
			"  wgfleet notify add webhook pager --url https://pager.example.org/hook --min-severity warning"),
		notifyAddKind(f, "slack", "a Slack channel, by its incoming webhook", urlFields,
			"  wgfleet notify add slack ops --url-file url --nodes berlin,lisbon"),
		notifyAddKind(f, "email", "mail over SMTP", smtpFields,
			"  wgfleet notify add email ops --host mail.example.org --username panel --password-file password \\\n"+
				"      --from panel@example.org --to ops@example.org --kinds drift.changed"),
	)
	return g
}

func notifyAddKind(f *panelFlags, kind, what string, own fields, example string) *cobra.Command {
	c := &cobra.Command{Use: kind + " NAME", Short: "Add " + what, Args: usage(1, 1), Example: example}
	all := append(append(fields{}, own...), channelFields...)
	all.add(c, false)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := all.body(f.con, c)
		if err != nil {
			return err
		}
		body["name"], body["kind"] = args[0], kind
		return saveChannel(c.Context(), f, http.MethodPost, "", body)
	}
	return c
}

func notifySet(f *panelFlags) *cobra.Command {
	c := &cobra.Command{
		Use: "set NAME", Short: "Change a channel; only what is named changes", Args: usage(1, 1),
		Example: "  wgfleet notify set pager --min-severity critical --debounce 2m\n  wgfleet notify set ops --enabled=false",
	}
	all := append(append(append(fields{{flag: "name", key: "name", help: "new name"}}, webhookFields...), smtpFields...), channelFields...)
	all.add(c, false)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := all.change(f.con, c)
		if err != nil {
			return err
		}
		return saveChannel(c.Context(), f, http.MethodPut, args[0], body)
	}
	return c
}

// saveChannel creates a channel, or changes the one of that name.
func saveChannel(ctx context.Context, f *panelFlags, method, which string, body map[string]any) error {
	client, err := f.client()
	if err != nil {
		return err
	}
	path, done := notifyPath, "added"
	if which != "" {
		c, err := findChannel(ctx, client, which)
		if err != nil {
			return err
		}
		path, done = channelPath(c.ID), "changed"
	}
	if err := ruleIDs(ctx, f, client, body); err != nil {
		return err
	}
	a, err := client.Do(ctx, method, path, nil, body)
	if err != nil {
		return err
	}
	return show(f, a.Data, func(c panelclient.Channel) error {
		f.con.printf("Channel %s was %s.\n", printable(c.Name), done)
		if c.Secret != "" {
			f.con.printf("Its secret, shown this once: the receiver checks the signatures with it.\n  %s\n", c.Secret)
		}
		f.con.hint("Next: wgfleet notify test %s", handle(c.Name, c.ID))
		return nil
	})
}

// ruleIDs puts ids in the place of the names of nodes and groups.
func ruleIDs(ctx context.Context, f *panelFlags, client *panelclient.Client, body map[string]any) error {
	rules, _ := body["rules"].(map[string]any)
	for key, find := range map[string]func(name string) (string, error){
		"nodes":  func(name string) (string, error) { n, err := findNode(ctx, client, name); return n.ID, err },
		"groups": func(name string) (string, error) { g, err := groups(f).find(ctx, client, name); return g.ID, err },
	} {
		names, given := rules[key].([]string)
		if !given {
			continue
		}
		ids := []string{}
		for _, name := range names {
			id, err := find(name)
			if err != nil {
				return err
			}
			ids = append(ids, id)
		}
		rules[key] = ids
	}
	return nil
}
