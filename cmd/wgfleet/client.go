package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// panelFlags are those of every command that asks a panel.
type panelFlags struct {
	con     *console
	url     string
	keyFile string
	caFile  string
	json    bool
}

func addPanelFlags(con *console, c *cobra.Command) *panelFlags {
	p := c.PersistentFlags()
	f := addPanelAddress(con, p)
	p.BoolVar(&f.json, "json", false, "print the data of the API's answer as JSON")
	return f
}

// addPanelAddress adds those that say which panel, and as whom.
func addPanelAddress(con *console, p *pflag.FlagSet) *panelFlags {
	f := &panelFlags{con: con}
	p.StringVar(&f.url, "url", "", "the panel [$WGFLEET_URL] (default "+panelclient.DefaultURL+")")
	p.StringVar(&f.keyFile, "api-key-file", "", "file with the API key (default: $WGFLEET_API_KEY; else, where the panel\n"+
		"is on this host, $WGFLEET_ADMIN_KEY, or admin.key in its data folder if that\n"+
		"can be read)")
	p.StringVar(&f.caFile, "ca-file", "", "certificates to believe beside the system's [$WGFLEET_CA_FILE]")
	return f
}

// client makes the client that the flags and the environment describe.
func (f *panelFlags) client() (*panelclient.Client, error) {
	address := firstOf(f.url, f.con.getenv("WGFLEET_URL"), panelclient.DefaultURL)
	u, err := panelclient.ParseURL(address)
	if err != nil {
		return nil, fmt.Errorf("--url or WGFLEET_URL: %w", err)
	}
	key, err := f.key(u)
	if err != nil {
		return nil, err
	}
	return panelclient.New(panelclient.Options{
		URL: address, Key: key, CAFile: firstOf(f.caFile, f.con.getenv("WGFLEET_CA_FILE")),
	})
}

func (f *panelFlags) key(u *url.URL) (string, error) {
	if f.keyFile != "" {
		b, err := os.ReadFile(f.keyFile)
		if err != nil {
			return "", fmt.Errorf("--api-key-file: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if key := f.con.getenv("WGFLEET_API_KEY"); key != "" {
		return key, nil
	}
	if !panelclient.IsLoopback(u) {
		return "", errors.New("no API key: set WGFLEET_API_KEY or give --api-key-file")
	}
	if key := f.con.getenv("WGFLEET_ADMIN_KEY"); key != "" { // in the panel's container: its own setting
		return key, nil
	}
	path := filepath.Join(app.DataDir(f.con.environ), app.AdminKeyFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", nil // the panel will say that one is missing, or that it is not there
	}
	if err != nil {
		return "", fmt.Errorf("the panel's key: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// run makes a command's RunE of a function that needs the client.
func (f *panelFlags) run(do func(context.Context, *panelclient.Client, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		client, err := f.client()
		if err != nil {
			return err
		}
		return do(c.Context(), client, args)
	}
}

// showList prints every page of a list.
func showList[T any](ctx context.Context, f *panelFlags, c *panelclient.Client, path string, query url.Values, table func([]T) error) error {
	list, err := c.List(ctx, path, query)
	if err != nil {
		return err
	}
	if f.json {
		return f.con.json(list)
	}
	all, err := decodeAll[T](list)
	if err != nil {
		return err
	}
	return table(all)
}

// show prints an answer: as it came for programs, through table for people.
func show[T any](f *panelFlags, data json.RawMessage, table func(T) error) error {
	if f.json {
		return f.con.json(data)
	}
	v, err := decode[T](data)
	if err != nil {
		return err
	}
	return table(v)
}

func decode[T any](data json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return v, fmt.Errorf("the panel's answer can't be read (is it a newer one?): %w", err)
	}
	return v, nil
}

func decodeAll[T any](list []json.RawMessage) ([]T, error) {
	out := make([]T, len(list))
	for i, data := range list {
		v, err := decode[T](data)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// nodes fetches all nodes.
func nodes(ctx context.Context, c *panelclient.Client) ([]panelclient.Node, error) {
	list, err := c.List(ctx, "/api/nodes", nil)
	if err != nil {
		return nil, err
	}
	return decodeAll[panelclient.Node](list)
}

// findNode returns the node with that id, else the one with that name.
func findNode(ctx context.Context, c *panelclient.Client, which string) (panelclient.Node, error) {
	all, err := nodes(ctx, c)
	if err != nil {
		return panelclient.Node{}, err
	}
	return pickNode(all, which)
}

func pickNode(all []panelclient.Node, which string) (panelclient.Node, error) {
	var named []panelclient.Node
	var ids []string
	for _, n := range all {
		if n.ID == which {
			return n, nil
		}
		if n.Name == which {
			named = append(named, n)
			ids = append(ids, n.ID)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return panelclient.Node{}, fmt.Errorf("there is no node %q: see `wgfleet node list`", which)
	}
	return panelclient.Node{}, fmt.Errorf("%d nodes are called %q: give an id, one of %s", len(named), which, strings.Join(ids, ", "))
}

// findPeer returns the peer of a node with that id, name or public key.
func findPeer(ctx context.Context, c *panelclient.Client, node, which string) (panelclient.Node, panelclient.Peer, error) {
	n, err := findNode(ctx, c, node)
	if err != nil {
		return n, panelclient.Peer{}, err
	}
	list, err := c.List(ctx, nodePath(n.ID)+"/peers", nil)
	if err != nil {
		return n, panelclient.Peer{}, err
	}
	all, err := decodeAll[panelclient.Peer](list)
	if err != nil {
		return n, panelclient.Peer{}, err
	}
	p, err := pickPeer(n, all, which)
	return n, p, err
}

func pickPeer(n panelclient.Node, all []panelclient.Peer, which string) (panelclient.Peer, error) {
	var found []panelclient.Peer
	var ids []string
	for _, p := range all {
		if p.ID == which {
			return p, nil
		}
		if p.Name == which || p.PublicKey == which {
			found = append(found, p)
			ids = append(ids, p.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return panelclient.Peer{}, fmt.Errorf("node %s has no peer %q: see `wgfleet peer list %s`", n.Name, which, n.Name)
	}
	return panelclient.Peer{}, fmt.Errorf("%d peers are called %q: give an id, one of %s", len(found), which, strings.Join(ids, ", "))
}

func nodePath(id string) string { return "/api/nodes/" + url.PathEscape(id) }

func peerPath(p panelclient.Peer) string {
	return nodePath(p.NodeID) + "/peers/" + url.PathEscape(p.ID)
}

// fetch asks for one thing.
func fetch(ctx context.Context, c *panelclient.Client, path string) (json.RawMessage, error) {
	a, err := c.Do(ctx, http.MethodGet, path, nil, nil)
	return a.Data, err
}
