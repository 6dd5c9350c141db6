package panel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/store"
)

// LocalNode is the panel's own host, as the process knows it.
type LocalNode struct {
	Name        string // of a new node; another one is taken where it is given away
	AgentURL    string
	Secret      agent.Secret
	WGInterface string
	IPPools     []netip.Prefix // of a new node
	Endpoint    string         // of a new node; may be ""
}

// EnsureLocalNode makes the panel's own host a node, once. Of one that is there already only what
// the process decides is brought up to date: the agent's address and secret.
func (s *Service) EnsureLocalNode(ctx context.Context, l LocalNode) (NodeView, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return NodeView{}, err
	}
	found := ""
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		found = ""
		for row, err := range nodeTable.All(tx, "") {
			if err != nil {
				return err
			}
			if row.Value.IsPanelNode && row.Value.WGInterface == l.WGInterface {
				found = row.ID
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return NodeView{}, err
	}
	if found != "" {
		return s.refreshLocalNode(ctx, found, l)
	}
	n := Node{
		ID: id, Name: l.Name, AgentURL: l.AgentURL, Secret: l.Secret, WGInterface: l.WGInterface, IPPools: l.IPPools,
		Endpoint: l.Endpoint, Enabled: true, Weight: DefaultWeight, IsPanelNode: true, Revision: 1, CreatedAt: now, UpdatedAt: now,
	}
	if err := l.check(); err != nil {
		return NodeView{}, err
	}
	v, err := s.insertNode(ctx, n)
	for i := 2; isConflict(err) && i < 100; i++ {
		n.Name = fmt.Sprintf("%s-%d", l.Name, i)
		v, err = s.insertNode(ctx, n)
	}
	return v, err
}

func (l LocalNode) check() error {
	return NodeInput{Name: &l.Name, AgentURL: &l.AgentURL, Secret: &l.Secret, WGInterface: &l.WGInterface, Endpoint: &l.Endpoint}.apply(&Node{})
}

func (s *Service) refreshLocalNode(ctx context.Context, id string, l LocalNode) (NodeView, error) {
	v, err := s.Node(ctx, id)
	if err != nil || v.AgentURL == l.AgentURL && v.Secret == l.Secret {
		return v, err
	}
	in := NodeInput{AgentURL: &l.AgentURL}
	if v.Secret != l.Secret {
		in.Secret = &l.Secret
	}
	return s.UpdateNode(ctx, id, in)
}
