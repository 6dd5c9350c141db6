package web

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// Secrets of the fake; no answer but those that must may hold one, and no log line any.
const (
	adminToken   = "admin-token-0123456789"
	viewerToken  = "viewer-token-0123456789"
	strangeToken = "strange-token-0123456789"
	madeToken    = "made-token-0123456789"
	madeSecret   = "made-secret-0123456789"
	nodeSecret   = agent.Secret("node-secret-0123456789")
)

var (
	epoch      = time.Date(2024, 1, 15, 10, 30, 0, 0, time.UTC)
	privateKey = engine.NewSecretKey(wgtypes.Key{1, 2, 3})
	presharedK = engine.NewSecretKey(wgtypes.Key{4, 5, 6})
	publicKey  = wgtypes.Key{7, 8, 9}
)

var _ UseCases = (*fake)(nil)

// fake is all use cases in memory. It does what the interfaces say and no more; err and panics make
// every use case behind the door fail.
type fake struct {
	err     error
	panics  any
	changed int // calls that changed something
	nodes   map[string]panel.NodeView
	peers   map[string]panel.PeerView
	report  drift.Report
	all     []drift.Report
	result  panel.ReconcileResult

	nodeInput panel.NodeInput
	peerInput panel.PeerInput
	ruleInput panel.RuleInput
	policy    panel.PolicyInput
	started   panel.RolloutInput
	placed    string
	options   panel.ReconcileOptions
	offline   bool
	up        *bool
	tested    panel.NodeTest
	config    string
	locked    atomic.Bool // no key opens the door any more
	fetched   []panel.ClientFile

	groupInput    panel.GroupInput
	templateInput panel.TemplateInput
	effectiveOf   string

	cutOff    error // ends a backup after its first bytes
	notEmpty  error
	restored  string // what was
	restoring func() // called while one is at work

	channels     map[string]notify.Channel
	channelInput notify.Input
}

func newFake() *fake {
	node := panel.NodeView{
		Node: panel.Node{
			ID: "n1", Name: "Node 1", AgentURL: "http://192.0.2.1:8080", Secret: nodeSecret, WGInterface: "wg0",
			Endpoint: "vpn.example.org", Enabled: true, Weight: 100, MaxPeers: 250,
			IPPools:   []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00::/64")},
			Overrides: panel.Overrides{MTU: new(1380), DNS: new("8.8.8.8")},
			AgentID:   "0123456789abcdef0123456789abcdef", Revision: 7, CreatedAt: epoch, UpdatedAt: epoch.Add(time.Hour),
		},
		Status: panel.NodeStatus{
			LastSeen: epoch.In(time.FixedZone("east", 7200)), Health: "online", Version: "v1",
			Conditions: []panel.Condition{{Type: "Reachable", Status: "True", Reason: "Answered", Message: "the agent answered", Since: epoch}},
		},
		PeerCount: 1, Policy: policy.Default(),
	}
	off := panel.NodeView{
		Policy: policy.Default(),
		Node:   panel.Node{ID: "n2", Name: "Node 2", Weight: 100, CreatedAt: epoch, UpdatedAt: epoch},
		Status: panel.NodeStatus{Health: "unknown"},
	}
	third := off
	third.ID, third.Name, third.Enabled = "n3", "Node 3", true
	peer := panel.PeerView{
		Peer: panel.Peer{
			ID: "p1", Name: "Alice's phone", NodeID: "n1", PublicKey: publicKey, PrivateKey: privateKey, PresharedKey: presharedK,
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.1.2/32")}, Keepalive: new(25), Enabled: true,
			CreatedAt: epoch, UpdatedAt: epoch,
		},
		Interface: "wg0",
		Effective: panel.Effective{DNS: "8.8.8.8", MTU: 1380, Keepalive: 25, EndpointAllowedIP: "0.0.0.0/0, ::/0", Endpoint: "vpn.example.org:51820"},
	}
	return &fake{
		nodes:  map[string]panel.NodeView{"n1": node, "n2": off, "n3": third},
		peers:  map[string]panel.PeerView{"p1": peer},
		report: documentReport(),

		channels: fakeChannels(),
		config:   "[Interface]\nPrivateKey = " + privateKey.Reveal().String() + "\n",
	}
}

func (f *fake) enter(changes bool) error {
	if f.panics != nil {
		panic(f.panics)
	}
	if f.err == nil && changes {
		f.changed++
	}
	return f.err
}

func found[T any](m map[string]T, kind, id string) (T, error) {
	v, ok := m[id]
	if !ok {
		return v, fmt.Errorf("%s %s: %w", kind, id, panel.ErrNotFound)
	}
	return v, nil
}

// pageThrough is the part of a sorted list that p asks for.
func pageThrough[T any](all []T, id func(T) string, p panel.Page) ([]T, string, error) {
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(id(a), id(b)) })
	all = slices.DeleteFunc(all, func(v T) bool { return id(v) <= p.Cursor })
	if p.Limit == 0 || len(all) <= p.Limit {
		return all, "", nil
	}
	return all[:p.Limit], id(all[p.Limit-1]), nil
}

func (f *fake) Nodes(_ context.Context, p panel.Page) ([]panel.NodeView, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	return pageThrough(slices.Collect(maps.Values(f.nodes)), func(n panel.NodeView) string { return n.ID }, p)
}

func (f *fake) Node(_ context.Context, id string) (panel.NodeView, error) {
	if err := f.enter(false); err != nil {
		return panel.NodeView{}, err
	}
	return found(f.nodes, "node", id)
}

func (f *fake) CreateNode(_ context.Context, in panel.NodeInput) (panel.NodeView, string, error) {
	if err := f.enter(true); err != nil {
		return panel.NodeView{}, "", err
	}
	f.nodeInput = in
	if in.Secret != nil {
		return f.nodes["n1"], "", nil
	}
	return f.nodes["n1"], madeSecret, nil
}

func (f *fake) UpdateNode(_ context.Context, id string, in panel.NodeInput) (panel.NodeView, error) {
	if err := f.enter(true); err != nil {
		return panel.NodeView{}, err
	}
	f.nodeInput = in
	n, err := found(f.nodes, "node", id)
	if in.Enabled != nil {
		n.Enabled = *in.Enabled
	}
	return n, err
}

func (f *fake) DeleteNode(_ context.Context, id string) error {
	if err := f.enter(true); err != nil {
		return err
	}
	_, err := found(f.nodes, "node", id)
	return err
}

func (f *fake) TestNode(_ context.Context, id string) (panel.NodeTest, error) {
	if err := f.enter(false); err != nil {
		return panel.NodeTest{}, err
	}
	_, err := found(f.nodes, "node", id)
	return f.tested, err
}

func (f *fake) Interface(_ context.Context, id string) (panel.InterfaceWish, error) {
	if err := f.enter(false); err != nil {
		return panel.InterfaceWish{}, err
	}
	n, err := found(f.nodes, "node", id)
	return n.Wish, err
}

func (f *fake) ChangeInterface(_ context.Context, id string, change func(*panel.InterfaceWish) error) (panel.InterfaceWish, error) {
	n, err := found(f.nodes, "node", id)
	if err == nil {
		err = f.enter(false)
	}
	if err == nil {
		err = change(&n.Wish)
	}
	if err != nil {
		return n.Wish, err
	}
	f.changed++
	f.nodes[id] = n
	return n.Wish, nil
}

func (f *fake) SyncInterface(_ context.Context, id string) error {
	if err := f.enter(true); err != nil {
		return err
	}
	_, err := found(f.nodes, "node", id)
	return err
}

func (f *fake) EnableInterface(_ context.Context, id string, up bool) error {
	if err := f.enter(true); err != nil {
		return err
	}
	f.up = &up
	_, err := found(f.nodes, "node", id)
	return err
}

func (f *fake) Peers(_ context.Context, node string, p panel.Page) ([]panel.PeerView, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	if _, err := found(f.nodes, "node", node); err != nil {
		return nil, "", err
	}
	of := slices.DeleteFunc(slices.Collect(maps.Values(f.peers)), func(v panel.PeerView) bool { return v.NodeID != node })
	return pageThrough(of, func(v panel.PeerView) string { return v.ID }, p)
}

func (f *fake) SearchPeers(_ context.Context, q string, p panel.Page) ([]panel.PeerView, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	of := slices.DeleteFunc(slices.Collect(maps.Values(f.peers)), func(v panel.PeerView) bool { return !strings.Contains(v.Name, q) })
	return pageThrough(of, func(v panel.PeerView) string { return v.ID }, p)
}

func (f *fake) Peer(_ context.Context, node, id string) (panel.PeerView, error) {
	if err := f.enter(false); err != nil {
		return panel.PeerView{}, err
	}
	p, err := found(f.peers, "peer", id)
	if err == nil && p.NodeID != node {
		err = panel.ErrNotFound
	}
	return p, err
}

func (f *fake) CreatePeer(_ context.Context, node string, in panel.PeerInput) (panel.PeerView, error) {
	if err := f.enter(true); err != nil {
		return panel.PeerView{}, err
	}
	f.peerInput, f.placed = in, node
	if node == panel.NodeAuto {
		node = "n1"
	}
	_, err := found(f.nodes, "node", node)
	return f.peers["p1"], err
}

func (f *fake) UpdatePeer(ctx context.Context, node, id string, in panel.PeerInput) (panel.PeerView, error) {
	if err := f.enter(true); err != nil {
		return panel.PeerView{}, err
	}
	f.peerInput = in
	return f.Peer(ctx, node, id)
}

func (f *fake) DeletePeer(ctx context.Context, node, id string, allowOffline bool) error {
	if err := f.enter(true); err != nil {
		return err
	}
	f.offline = allowOffline
	_, err := f.Peer(ctx, node, id)
	return err
}

func (f *fake) ClientConfig(ctx context.Context, node, id string) (panel.ClientFile, error) {
	p, err := f.Peer(ctx, node, id)
	if err == nil && p.PrivateKey.IsZero() {
		err = fmt.Errorf("peer %s: %w", id, panel.ErrNoPrivateKey)
	}
	return panel.ClientFile{Text: f.config}, err
}

func (f *fake) Drift(_ context.Context, id string) (drift.Report, error) {
	if err := f.enter(false); err != nil {
		return drift.Report{}, err
	}
	_, err := found(f.nodes, "node", id)
	return f.report, err
}

func (f *fake) DriftAll(context.Context) ([]drift.Report, error) { return f.all, f.enter(false) }

func (f *fake) Reconcile(_ context.Context, id string, o panel.ReconcileOptions) (panel.ReconcileResult, error) {
	if o.PlanID != "" && o.PlanID != f.result.PlanID {
		return panel.ReconcileResult{}, fmt.Errorf("the steps changed since: %w", panel.ErrConflict)
	}
	if err := f.enter(true); err != nil {
		return panel.ReconcileResult{}, err
	}
	f.options = o
	_, err := found(f.nodes, "node", id)
	return f.result, err
}

func (f *fake) PlanAll(_ context.Context, nodeIDs []string, o panel.ReconcileOptions) ([]panel.NodePlan, error) {
	f.options = o
	for _, id := range nodeIDs {
		if _, err := found(f.nodes, "node", id); err != nil {
			return nil, err
		}
	}
	return []panel.NodePlan{{NodeID: "n1", Planned: f.result.Planned}, {NodeID: "n2", Error: "no answer"}}, f.enter(true)
}

func (f *fake) Keys(_ context.Context, p panel.Page) ([]panel.Key, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	all := []panel.Key{{ID: "k1", Name: "first", Role: panel.RoleAdmin, CreatedAt: epoch}}
	return pageThrough(all, func(k panel.Key) string { return k.ID }, p)
}

func (f *fake) CreateKey(_ context.Context, name, role string) (panel.Key, string, error) {
	return panel.Key{ID: "k2", Name: name, Role: role, CreatedAt: epoch}, madeToken, f.enter(true)
}

func (f *fake) DeleteKey(_ context.Context, id string) error {
	if err := f.enter(true); err != nil {
		return err
	}
	_, err := found(map[string]bool{"k1": true}, "key", id)
	return err
}

// Authenticate is the door: err does not hold for it, so that what is behind can be made to fail.
func (f *fake) Authenticate(_ context.Context, token string) (panel.Key, error) {
	if f.locked.Load() {
		return panel.Key{}, fmt.Errorf("key: %w", panel.ErrUnauthorized)
	}
	switch token {
	case adminToken:
		return panel.Key{ID: "k-admin", Name: "the admin", Role: panel.RoleAdmin}, nil
	case viewerToken:
		return panel.Key{ID: "k-viewer", Name: "the viewer", Role: panel.RoleViewer}, nil
	case strangeToken:
		return panel.Key{ID: "k-strange", Name: "of no known role", Role: "root"}, nil
	case "broken":
		return panel.Key{}, fmt.Errorf("the disk is full")
	}
	return panel.Key{}, fmt.Errorf("key: %w", panel.ErrUnauthorized)
}
