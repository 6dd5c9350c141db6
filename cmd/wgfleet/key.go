package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

func newKey(con *console) *cobra.Command {
	g := group("key", "API keys of the panel", "  wgfleet key list\n  wgfleet key add monitoring --role viewer")
	f := addPanelFlags(con, g)
	g.AddCommand(keyList(f), keyAdd(f), keyRemove(f))
	return g
}

func keyList(f *panelFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the API keys", Args: usage(0, 0),
		Example: "  wgfleet key list",
		RunE: f.run(func(ctx context.Context, client *panelclient.Client, _ []string) error {
			return showList(ctx, f, client, "/api/keys", nil, func(all []panelclient.Key) error {
				rows := make([][]string, len(all))
				for i, k := range all {
					rows[i] = []string{k.Name, k.Role, k.CreatedAt.Format(time.DateTime), k.ID}
				}
				return f.con.table([]string{"NAME", "ROLE", "CREATED (UTC)", "ID"}, rows)
			})
		}),
	}
}

func keyAdd(f *panelFlags) *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "add NAME", Short: "Make an API key; it is shown once", Args: usage(1, 1),
		Example: "  wgfleet key add monitoring --role viewer",
	}
	c.Flags().StringVar(&role, "role", "viewer", "admin, or viewer: reads and sees no secret")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		a, err := client.Do(ctx, http.MethodPost, "/api/keys", nil, map[string]string{"name": args[0], "role": role})
		if err != nil {
			return err
		}
		return show(f, a.Data, func(k panelclient.Key) error {
			f.con.printf("%s\n", k.Key)
			f.con.hint("This is the key %s (%s, id %s). It is not shown again: WGFLEET_API_KEY=… for the commands.", printable(k.Name), k.Role, k.ID)
			return nil
		})
	})
	return c
}

func keyRemove(f *panelFlags) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "rm KEY", Short: "Remove an API key, by id or name", Args: usage(1, 1),
		Example: "  wgfleet key rm monitoring",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		k, err := findKey(ctx, client, args[0])
		if err != nil {
			return err
		}
		if !yes {
			err := f.con.confirm(ctx, fmt.Sprintf("Remove the %s key %s? Whoever uses it is refused from now on.", k.Role, printable(k.Name)))
			if err != nil {
				return err
			}
		}
		a, err := client.Do(ctx, http.MethodDelete, "/api/keys/"+url.PathEscape(k.ID), nil, nil)
		if err != nil {
			return err
		}
		return show(f, a.Data, func(any) error {
			f.con.printf("Key %s was removed.\n", printable(k.Name))
			return nil
		})
	})
	return c
}

func findKey(ctx context.Context, client *panelclient.Client, which string) (panelclient.Key, error) {
	list, err := client.List(ctx, "/api/keys", nil)
	if err != nil {
		return panelclient.Key{}, err
	}
	all, err := decodeAll[panelclient.Key](list)
	if err != nil {
		return panelclient.Key{}, err
	}
	var named []panelclient.Key
	var ids []string
	for _, k := range all {
		if k.ID == which {
			return k, nil
		}
		if k.Name == which {
			named = append(named, k)
			ids = append(ids, k.ID)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return panelclient.Key{}, fmt.Errorf("there is no key %q: see `wgfleet key list`", which)
	}
	return panelclient.Key{}, fmt.Errorf("%d keys are called %q: give an id, one of %s", len(named), which, strings.Join(ids, ", "))
}
