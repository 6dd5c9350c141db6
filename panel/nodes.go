package panel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/policy"
	"github.com/wgfleet/wgfleet/store"
)

// Nodes lists the nodes in the order of their making.
func (s *Service) Nodes(ctx context.Context, p Page) (nodes []NodeView, next string, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		nodes, next = []NodeView{}, ""
		ps, err := presetsOf(tx)
		if err != nil {
			return err
		}
		for row, err := range nodeTable.All(tx, p.Cursor) {
			if err != nil {
				return err
			}
			if p.Limit > 0 && len(nodes) == p.Limit {
				next = nodes[p.Limit-1].ID
				return nil
			}
			nodes = append(nodes, s.nodeView(row.ID, row.Value, ps))
		}
		return nil
	})
	if err != nil {
		return nil, "", pageError(err)
	}
	for i := range nodes {
		if nodes[i], err = s.withPolicy(ctx, nodes[i]); err != nil {
			return nil, "", err
		}
	}
	return nodes, next, nil
}

// pageError tells a cursor that is none from a failure.
func pageError(err error) error {
	if errors.Is(err, store.ErrKey) {
		return Invalid("cursor", "is not a cursor of this list")
	}
	return err
}

func (s *Service) nodeView(id string, r nodeRecord, ps *presets) NodeView {
	return NodeView{Node: r.node(id, ps), Status: s.health.of(id), PeerCount: r.PeerCount}
}

// Node returns one node.
func (s *Service) Node(ctx context.Context, id string) (NodeView, error) {
	var v NodeView
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		r, err := getNode(tx, id)
		if err != nil {
			return err
		}
		ps, err := presetsOf(tx)
		v = s.nodeView(id, r, ps)
		return err
	})
	if err != nil {
		return v, err
	}
	return s.withPolicy(ctx, v)
}

// withPolicy adds which policy holds. A node that nobody looks at is not known to be in sync.
func (s *Service) withPolicy(ctx context.Context, v NodeView) (NodeView, error) {
	var err error
	v.Policy, err = s.policyOf(ctx, v.Node)
	if v.Policy.Mode == policy.Off {
		v.Status.Drift, v.Status.Conditions = "", unwatched(v.Status.Conditions)
	}
	return v, err
}

func getNode(tx store.Tx, id string) (nodeRecord, error) {
	r, err := nodeTable.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
		return r, notFoundf("there is no node %q", clip(id))
	}
	return r, err
}

// CreateNode adds a node; its agent is not contacted. The secret is returned where it was made here.
func (s *Service) CreateNode(ctx context.Context, in NodeInput) (NodeView, string, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return NodeView{}, "", err
	}
	n := Node{ID: id, WGInterface: DefaultInterface, Enabled: true, Weight: DefaultWeight, Revision: 1, CreatedAt: now, UpdatedAt: now}
	made := ""
	if in.Secret == nil || *in.Secret == "" {
		in.Secret = new(agent.NewSecret())
		made = string(*in.Secret)
	}
	if err := in.required(); err != nil {
		return NodeView{}, "", err
	}
	if err := in.apply(&n); err != nil {
		return NodeView{}, "", err
	}
	v, err := s.insertNode(ctx, n)
	if err != nil {
		return NodeView{}, "", err
	}
	return v, made, nil
}

func (in NodeInput) required() error {
	var p problems
	if in.Name == nil {
		p.add("name", "must be given")
	}
	if in.AgentURL == nil {
		p.add("agent_url", "must be given")
	}
	return p.err()
}

func (s *Service) insertNode(ctx context.Context, n Node) (NodeView, error) {
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		if err := claimNode(tx, n); err != nil {
			return err
		}
		var err error
		if n.presets, err = presetsOf(tx); err != nil {
			return err
		}
		if err := n.refer(tx, Node{}); err != nil {
			return err
		}
		return nodeTable.Put(tx, n.ID, recordOfNode(n, 0))
	})
	if err != nil {
		return NodeView{}, err
	}
	return s.withPolicy(ctx, NodeView{Node: n, Status: s.health.of(n.ID)})
}

func claimNode(tx store.Tx, n Node) error {
	if err := nodeNames.Claim(tx, nameKey(n.Name), n.ID); err != nil {
		return taken(tx, err, "the name %q belongs to node %s", n.Name)
	}
	return nil
}

// nameKey fits any name into an index.
func nameKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// taken turns a claim that failed into a conflict that names the node that was first.
func taken(tx store.Tx, err error, format string, what string) error {
	t, ok := errors.AsType[*store.TakenError](err)
	if !ok {
		return err
	}
	other := t.Owner
	if r, err := nodeTable.Get(tx, t.Owner); err == nil {
		other = fmt.Sprintf("%s (%s)", r.Name, t.Owner)
	}
	return conflictf(format, what, other)
}

func releaseNode(tx store.Tx, n Node) error {
	return nodeNames.Release(tx, nameKey(n.Name), n.ID)
}

// UpdateNode changes what the input names; the agent is not contacted.
func (s *Service) UpdateNode(ctx context.Context, id string, in NodeInput) (NodeView, error) {
	return s.changeNode(ctx, id, in.apply)
}

// changeNode changes a node's desired state in one transaction.
func (s *Service) changeNode(ctx context.Context, id string, change func(*Node) error) (NodeView, error) {
	var v NodeView
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		v, err = s.changeNodeIn(tx, id, change)
		return err
	})
	if err != nil {
		return v, err
	}
	return s.withPolicy(ctx, v)
}

func (s *Service) changeNodeIn(tx store.Tx, id string, change func(*Node) error) (NodeView, error) {
	r, err := getNode(tx, id)
	if err != nil {
		return NodeView{}, err
	}
	ps, err := presetsOf(tx)
	if err != nil {
		return NodeView{}, err
	}
	old, n := r.node(id, ps), r.node(id, ps)
	if err := change(&n); err != nil {
		return NodeView{}, err
	}
	if old.Name != n.Name {
		if err := releaseNode(tx, old); err != nil {
			return NodeView{}, err
		}
		if err := claimNode(tx, n); err != nil {
			return NodeView{}, err
		}
	}
	if err := n.refer(tx, old); err != nil {
		return NodeView{}, err
	}
	n.Revision++
	n.UpdatedAt = s.now()
	r = recordOfNode(n, r.PeerCount)
	return s.nodeView(id, r, ps), nodeTable.Put(tx, id, r)
}

// deleteTimeout bounds forgetting a node, which a caller who hangs up does not stop.
const deleteTimeout = time.Minute

// DeleteNode forgets a node and its peers, all or nothing; the agent is not contacted, and its
// interface stays as it is.
func (s *Service) DeleteNode(ctx context.Context, id string) error {
	release, err := s.hold(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
	defer cancel()
	limit := math.MaxInt
	for left := true; left; {
		left, err = s.deletePeersOf(ctx, id, limit)
		if errors.Is(err, store.ErrTooLarge) && limit > deleteBatch {
			left, limit = true, deleteBatch // more than the store takes at once
		} else if err != nil {
			return err
		}
	}
	s.states.drop(id)
	s.agents.drop(id)
	s.health.drop(id)
	s.interfaces.drop(id)
	s.rules.forget()
	s.verdicts.drop(id)
	s.forget(id)
	return nil
}

// deleteBatch is how many peers one transaction forgets where one can't forget all.
const deleteBatch = 1000

// deletePeersOf forgets up to limit peers and, with the last of them, the node.
func (s *Service) deletePeersOf(ctx context.Context, id string, limit int) (left bool, err error) {
	err = s.o.Store.Update(ctx, func(tx store.Tx) error {
		left = false
		r, err := getNode(tx, id)
		if err != nil {
			return err
		}
		count := 0
		for row, err := range peerTable.In(id).All(tx, "") {
			if err != nil {
				return err
			}
			if count == limit {
				left = true
				break
			}
			if err := removePeer(tx, row.Value.peer(id, row.ID)); err != nil {
				return err
			}
			count++
		}
		if left {
			r.PeerCount -= count
			r.Revision++
			return nodeTable.Put(tx, id, r)
		}
		n := r.node(id, nil)
		if err := releaseNode(tx, n); err != nil {
			return err
		}
		if err := (Node{ID: id}).refer(tx, n); err != nil {
			return err
		}
		if err := errors.Join(memoryTable.Delete(tx, id), forgetFormers(tx, id, 0), forgetRules(tx, id), forgetFiles(tx, id)); err != nil {
			return err
		}
		return nodeTable.Delete(tx, id)
	})
	return left, err
}
