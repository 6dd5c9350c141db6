package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/userspace"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// iface is the interface of every node.
const iface = "wg0"

// Fleet is a running fleet. Its first node is the panel's own host.
type Fleet struct {
	Panel *panelclient.Client
	Nodes []*Node

	dir     string
	running context.Context // ends when the fleet stops
	stop    context.CancelFunc
	tasks   *errgroup.Group
}

// headerTimeout bounds a request to the page inside a tunnel.
const headerTimeout = 10 * time.Second

// Node is one node of the fleet.
type Node struct {
	Name     string
	ID       string       // in the panel
	AgentURL string       // on loopback
	Secret   agent.Secret // that signs requests to its agent
	Address  netip.Addr   // of the node inside its tunnel, IPv4
	Endpoint netip.AddrPort

	backend *userspace.Backend
}

// Start runs a fleet of nodes with these names. On an error nothing is left.
func Start(ctx context.Context, names ...string) (*Fleet, error) {
	dir, err := os.MkdirTemp("", "wgfleet-")
	if err != nil {
		return nil, fmt.Errorf("make a temporary folder: %w", err)
	}
	// What ends the caller's context must not cut the fleet off before Close takes it down in order.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	f := &Fleet{dir: dir, stop: stop}
	f.tasks, f.running = errgroup.WithContext(running)
	for i, name := range names {
		n, err := f.startNode(ctx, i, name)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.Nodes = append(f.Nodes, n)
	}
	return f, nil
}

// Close stops the panel and all nodes and removes what they wrote.
func (f *Fleet) Close() error {
	f.stop()
	return errors.Join(f.tasks.Wait(), os.RemoveAll(f.dir))
}

func (f *Fleet) startNode(ctx context.Context, i int, name string) (*Node, error) {
	n := &Node{
		Name: name, Secret: agent.NewSecret(), Address: netip.AddrFrom4([4]byte{10, 8, byte(i), 1}),
		backend: userspace.NewNetstack(userspace.Options{}),
	}
	dir := filepath.Join(f.dir, name)
	conf := filepath.Join(dir, "wireguard")
	if err := os.MkdirAll(conf, 0o700); err != nil {
		return nil, fmt.Errorf("make a node's folder: %w", err)
	}
	if err := writeConfig(filepath.Join(conf, iface+".conf"), n.Address); err != nil {
		return nil, err
	}
	ready, err := f.run(ctx, n, []string{
		"WG_AGENT_SECRET=" + string(n.Secret), "WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0",
		"WGFLEET_DATA_DIR=" + filepath.Join(dir, "data"), "WGFLEET_CONF_DIR=" + conf,
		"WGFLEET_PANEL=" + map[bool]string{true: "true", false: "false"}[i == 0],
		"WGFLEET_PANEL_PORT=0", "WGFLEET_BACKEND=netstack", "WGFLEET_RATE_LIMIT=off",
	})
	if err != nil {
		return nil, fmt.Errorf("start node %s: %w", name, err)
	}
	n.AgentURL, n.ID = ready.AgentURL, ready.NodeID
	if i == 0 {
		if f.Panel, err = panelclient.New(panelclient.Options{URL: ready.PanelURL, Key: string(ready.AdminKey)}); err != nil {
			return nil, err
		}
	}
	o, err := n.Observe(ctx)
	if err != nil {
		return nil, err
	}
	n.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), o.Interface.ListenPort)
	return n, f.register(ctx, n)
}

// run starts a process's roles and waits until they answer.
func (f *Fleet) run(ctx context.Context, n *Node, environ []string) (app.Ready, error) {
	settings, err := app.Load(app.Sources{Environ: environ})
	if err != nil {
		return app.Ready{}, err
	}
	ready, ended := make(chan app.Ready, 1), make(chan error, 1)
	f.tasks.Go(func() error {
		err := app.Run(f.running, settings, app.Streams{
			Out: io.Discard, Log: io.Discard, Version: "demo", Backend: n.backend,
			Ready: func(r app.Ready) { ready <- r },
		})
		ended <- err
		return err
	})
	select {
	case r := <-ready:
		return r, nil
	case err := <-ended:
		return app.Ready{}, err
	case <-ctx.Done():
		return app.Ready{}, context.Cause(ctx)
	}
}

// register tells the panel of the node, or of its own host where clients reach it.
func (f *Fleet) register(ctx context.Context, n *Node) error {
	body := map[string]any{
		"name": n.Name, "agent_url": n.AgentURL, "endpoint": n.Endpoint.String(),
		"ip_pool_cidr": netip.PrefixFrom(n.Address, 24).Masked().String(),
	}
	if n.ID != "" {
		return f.Call(ctx, http.MethodPut, "/api/nodes/"+n.ID, body, nil)
	}
	body["secret"] = string(n.Secret)
	var made panelclient.Node
	err := f.Call(ctx, http.MethodPost, "/api/nodes", body, &made)
	n.ID = made.ID
	return err
}

func writeConfig(path string, address netip.Addr) error {
	private, err := engine.GeneratePrivateKey()
	if err != nil {
		return err
	}
	file := wgquick.New()
	if err := errors.Join(
		file.SetInterface("PrivateKey", private.Reveal().String()),
		file.SetInterface("Address", netip.PrefixFrom(address, 24).String()),
	); err != nil {
		return fmt.Errorf("write a node's configuration: %w", err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write a node's configuration: %w", err)
	}
	return nil
}

// Call asks the panel and reads the data of its answer into out, unless that is nil.
func (f *Fleet) Call(ctx context.Context, method, path string, body, out any) error {
	a, err := f.Panel.Do(ctx, method, path, nil, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(a.Data, out); err != nil {
		return fmt.Errorf("the panel's answer to %s %s can't be read: %w", method, path, err)
	}
	return nil
}

// Drift looks at one node now.
func (f *Fleet) Drift(ctx context.Context, n *Node) (panelclient.Report, error) {
	var r panelclient.Report
	err := f.Call(ctx, http.MethodGet, "/api/drift/nodes/"+n.ID, nil, &r)
	return r, err
}

// Reconcile puts one node right.
func (f *Fleet) Reconcile(ctx context.Context, n *Node, request panelclient.ReconcileRequest) (panelclient.Reconciled, error) {
	var r panelclient.Reconciled
	err := f.Call(ctx, http.MethodPost, "/api/drift/nodes/"+n.ID+"/reconcile", request, &r)
	return r, err
}

// Device is the node's interface itself: what is changed here is changed behind the panel's back,
// as with wg set on the host.
func (n *Node) Device(ctx context.Context) (*userspace.Device, error) {
	d, err := n.backend.Attach(ctx, iface)
	if err != nil {
		return nil, err
	}
	return d.(*userspace.Device), nil //nolint:forcetypeassert // this backend makes no others
}

// Observe reads the node's interface.
func (n *Node) Observe(ctx context.Context) (engine.Observation, error) {
	d, err := n.Device(ctx)
	if err != nil {
		return engine.Observation{}, err
	}
	return d.Observe(ctx)
}

// Change edits the interface behind the panel's back. Before of each change is filled in.
func (n *Node) Change(ctx context.Context, c engine.Changes) error {
	d, err := n.Device(ctx)
	if err != nil {
		return err
	}
	o, err := d.Observe(ctx)
	if err != nil {
		return err
	}
	for i, p := range c.Peers {
		if before, ok := engine.Lookup(o.Peers, p.Key()); ok {
			c.Peers[i].Before = &before
		}
	}
	return d.Configure(ctx, c)
}
