package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// preset is what the commands of groups and of templates share.
type preset struct {
	f    *panelFlags
	noun string // group or template, also the command
	path string // of the API
}

// named is what is found by its id or its name.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func (p preset) at(id string) string { return p.path + "/" + url.PathEscape(id) }

// find returns the one with that id, else the one with that name, which only one can have.
func (p preset) find(ctx context.Context, client *panelclient.Client, which string) (named, error) {
	list, err := client.List(ctx, p.path, nil)
	if err != nil {
		return named{}, err
	}
	all, err := decodeAll[named](list)
	if err != nil {
		return named{}, err
	}
	var found named
	for _, v := range all {
		if v.ID == which {
			return v, nil
		}
		if v.Name == which {
			found = v
		}
	}
	if found.ID == "" {
		return found, fmt.Errorf("there is no %s %q: see `wgfleet %s list`", p.noun, which, p.noun)
	}
	return found, nil
}

func (p preset) show() *cobra.Command {
	return &cobra.Command{
		Use: "show " + strings.ToUpper(p.noun), Short: "Show one " + p.noun + ", by id or name", Args: usage(1, 1),
		Example: "  wgfleet " + p.noun + " show office",
		RunE: p.f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			v, err := p.find(ctx, client, args[0])
			if err != nil {
				return err
			}
			data, err := fetch(ctx, client, p.at(v.ID))
			if err != nil {
				return err
			}
			return show(p.f, data, p.f.con.members)
		}),
	}
}

func (p preset) remove() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "rm " + strings.ToUpper(p.noun), Short: "Remove a " + p.noun + " that is not in use", Args: usage(1, 1),
		Example: "  wgfleet " + p.noun + " rm office",
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = p.f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		v, err := p.find(ctx, client, args[0])
		if err != nil {
			return err
		}
		if !yes {
			if err := p.f.con.confirm(ctx, fmt.Sprintf("Remove the %s %s?", p.noun, printable(v.Name))); err != nil {
				return err
			}
		}
		a, err := client.Do(ctx, http.MethodDelete, p.at(v.ID), nil, nil)
		if err != nil {
			return err
		}
		return show(p.f, a.Data, func(any) error {
			p.f.con.printf("The %s %s was removed.\n", p.noun, printable(v.Name))
			return nil
		})
	})
	return c
}

// add sends a new one.
func (p preset) add(ctx context.Context, client *panelclient.Client, body map[string]any, next string) error {
	a, err := client.Do(ctx, http.MethodPost, p.path, nil, body)
	if err != nil {
		return err
	}
	return show(p.f, a.Data, func(v named) error {
		p.f.con.printf("The %s %s was added, id %s.\n", p.noun, printable(v.Name), v.ID)
		p.f.con.hint(next, handle(v.Name, v.ID))
		return nil
	})
}

// set changes one, after a look at what that does.
func (p preset) set(own fields, example string) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "set " + strings.ToUpper(p.noun), Short: "Change a " + p.noun + ": show what that does, ask, and do it", Args: usage(1, 1),
		Example: example,
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	all := append(fields{{flag: "name", key: "name", help: "new name"}}, own...)
	all.add(c, true)
	c.RunE = func(c *cobra.Command, args []string) error {
		body, err := all.change(p.f.con, c)
		if err != nil {
			return err
		}
		return p.f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
			v, err := p.find(ctx, client, args[0])
			if err != nil {
				return err
			}
			return changePreset(ctx, p.f, client, p.at(v.ID), "the "+p.noun+" "+printable(v.Name), body, yes)
		})(c, args)
	}
	return c
}

func groups(f *panelFlags) preset    { return preset{f: f, noun: "group", path: "/api/groups"} }
func templates(f *panelFlags) preset { return preset{f: f, noun: "template", path: "/api/templates"} }

// refer puts ids in the place of the names of a group and a template.
func refer(ctx context.Context, f *panelFlags, client *panelclient.Client, body map[string]any) error {
	for key, p := range map[string]preset{"group_id": groups(f), "template_id": templates(f)} {
		which, ok := body[key].(string)
		if !ok {
			continue
		}
		v, err := p.find(ctx, client, which)
		if err != nil {
			return err
		}
		body[key] = v.ID
	}
	return nil
}

// cell shows a value that may be absent.
func cell[T any](v *T) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}
