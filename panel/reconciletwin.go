package panel

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// others returns the peers that other nodes of the panel have on the same interface, and whose they
// are. It refuses to remove or adopt unknown peers there: what one node does not know may be the
// other's. It is called after a look at the node, which has pinned who its agent is.
func (r *reconciler) others(ctx context.Context, nodeID string) (map[wgtypes.Key]string, error) {
	twins, err := r.twins(ctx, nodeID)
	if err != nil || len(twins) == 0 {
		return nil, err
	}
	if r.o.prunes() || r.o.AdoptUnknown {
		return nil, conflictf("node %s manages the same interface of the same agent: its peers are neither removed nor adopted as unknown; delete one of the two nodes",
			twins[0].Name)
	}
	owners := make(map[wgtypes.Key]string)
	for _, n := range twins {
		st, err := r.s.state(ctx, n.ID)
		if err != nil {
			return nil, err
		}
		for _, p := range st.peers {
			owners[p.PublicKey] = "node " + n.Name
		}
	}
	return owners, nil
}

// twins are the other nodes that manage the same interface.
func (r *reconciler) twins(ctx context.Context, nodeID string) ([]Node, error) {
	all, err := r.s.allNodes(ctx)
	if err != nil {
		return nil, err
	}
	if r.o.prunes() { // who was never met may be anybody: meet them first
		strangers := slices.DeleteFunc(slices.Clone(all), func(n Node) bool { return !n.Enabled || n.AgentID != "" || n.SeenPublicKey != "" })
		if len(strangers) > 0 {
			sideBySide(strangers, r.s.o.Parallel, func(n Node) bool { return r.s.poll(ctx, n) })
			if all, err = r.s.allNodes(ctx); err != nil {
				return nil, err
			}
		}
	}
	i := slices.IndexFunc(all, func(n Node) bool { return n.ID == nodeID })
	if i < 0 {
		return nil, notFoundf("there is no node %q", clip(nodeID))
	}
	self := all[i]
	return slices.DeleteFunc(all, func(n Node) bool { return n.ID == self.ID || !sameInterface(n, self) }), nil
}

// sameInterface reports whether two nodes are one interface. An agent's id tells; an original agent
// has none, and its interface's key tells.
func sameInterface(a, b Node) bool {
	if a.WGInterface != b.WGInterface {
		return false
	}
	if a.AgentID != "" && b.AgentID != "" {
		return a.AgentID == b.AgentID
	}
	return a.SeenPublicKey != "" && a.SeenPublicKey == b.SeenPublicKey || place(a.AgentURL) == place(b.AgentURL)
}

// place is where an agent's URL leads, in one spelling.
func place(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return host + " " + port + strings.TrimSuffix(u.Path, "/")
}
