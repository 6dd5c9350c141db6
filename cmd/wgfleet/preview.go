package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// previewRows is how many lines of a preview a person is shown.
const previewRows = 20

// changePreset shows what a change of a group or a template would do, asks, and makes it. what names it in a sentence.
func changePreset(ctx context.Context, f *panelFlags, client *panelclient.Client, path, what string, body map[string]any, yes bool) error {
	a, err := client.Do(ctx, http.MethodPost, path+"/preview", nil, body)
	if err != nil {
		return err
	}
	p, err := decode[panelclient.Preview](a.Data)
	if err != nil {
		return err
	}
	if !f.json {
		if err := f.con.printPreview(p); err != nil {
			return err
		}
	}
	if !yes {
		if err := f.con.confirm(ctx, "Change "+what+"?"); err != nil {
			return err
		}
	}
	if a, err = client.Do(ctx, http.MethodPut, path, nil, body); err != nil {
		return err
	}
	return show(f, a.Data, func(any) error {
		f.con.printf("%s was changed.\n", strings.ToUpper(what[:1])+what[1:])
		if p.Totals.Nodes > 0 {
			f.con.hint("Nothing was written to the nodes. Next: wgfleet reconcile --all --plan")
		}
		return nil
	})
}

// printPreview says what a change would do.
func (c *console) printPreview(p panelclient.Preview) error {
	t := p.Totals
	if t.Nodes+t.Stale == 0 {
		c.printf("No peer differs from its node by this, and no client's file becomes stale.\n")
		return nil
	}
	if t.Nodes > 0 {
		var differ []string
		if t.Peers > 0 {
			differ = append(differ, amount(t.Peers, "peer"))
		}
		if t.Interface > 0 {
			differ = append(differ, amount(t.Interface, "interface setting"))
		}
		c.printf("This makes %s differ from what %s.\n", strings.Join(differ, " and "), onNodes(t.Nodes))
	}
	if t.Stale > 0 {
		c.printf("%s must be fetched again.\n", amount(t.Stale, "client file"))
	}
	rows := previewLines(p)
	if more := len(rows) - previewRows; more > 0 {
		rows = append(rows[:previewRows:previewRows], []string{fmt.Sprintf("… and %d more", more), "", ""})
	}
	return c.table([]string{"NODE", "PEER", "WHAT"}, rows)
}

func onNodes(n int) string {
	if n == 1 {
		return "1 node has"
	}
	return fmt.Sprintf("%d nodes have", n)
}

func amount(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func previewLines(p panelclient.Preview) [][]string {
	var rows [][]string
	for _, n := range p.Drift {
		if len(n.Interface) > 0 {
			rows = append(rows, []string{n.NodeName, "", "interface: " + strings.Join(n.Interface, ", ")})
		}
		for _, p := range n.Peers {
			rows = append(rows, []string{n.NodeName, p.Name, "drift: " + strings.Join(p.Fields, ", ")})
		}
	}
	for _, s := range p.Stale {
		rows = append(rows, []string{s.NodeName, s.Name, "stale client file"})
	}
	return rows
}
