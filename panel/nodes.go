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
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
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
	if !v.Enabled || v.Policy.Mode == policy.Off {
		v.Status.Drift, v.Status.Conditions = "", unwatched(v.Status.Conditions, v.Enabled)
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
	var first revised
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		err := claimNode(tx, n)
		if err != nil {
			return err
		}
		if n.presets, err = presetsOf(tx); err != nil {
			return err
		}
		if err := n.refer(tx, Node{}); err != nil {
			return err
		}
		first, err = s.begin(ctx, tx, n)
		return err
	})
	if err != nil {
		return NodeView{}, err
	}
	s.tellRevised(ctx, first)
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

// changeNode changes a node's desired state, and tells of it.
func (s *Service) changeNode(ctx context.Context, id string, change func(*Node) error) (NodeView, error) {
	v, rev, err := s.reviseNode(ctx, id, "", change)
	if err == nil {
		s.tellRevised(ctx, rev)
	}
	return v, err
}

// reviseNode changes a node's desired state in one transaction, as one revision.
func (s *Service) reviseNode(ctx context.Context, id, why string, change func(*Node) error) (v NodeView, rev revised, err error) {
	err = s.o.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		v, rev, err = s.changeNodeIn(ctx, tx, id, why, change)
		return err
	})
	if err != nil {
		return v, rev, err
	}
	v, err = s.withPolicy(ctx, v)
	return v, rev, err
}

// renameNode moves the claim on a name, where it is another.
func renameNode(tx store.Tx, old, n Node) error {
	if old.Name == n.Name {
		return nil
	}
	if err := releaseNode(tx, old); err != nil {
		return err
	}
	return claimNode(tx, n)
}

func (s *Service) changeNodeIn(ctx context.Context, tx store.Tx, id, why string, change func(*Node) error) (NodeView, revised, error) {
	r, err := getNode(tx, id)
	if err != nil {
		return NodeView{}, revised{}, err
	}
	ps, err := presetsOf(tx)
	if err != nil {
		return NodeView{}, revised{}, err
	}
	old, n := r.node(id, ps), r.node(id, ps)
	if err := change(&n); err != nil {
		return NodeView{}, revised{}, err
	}
	if err := renameNode(tx, old, n); err != nil {
		return NodeView{}, revised{}, err
	}
	if err := n.refer(tx, old); err != nil {
		return NodeView{}, revised{}, err
	}
	n.UpdatedAt = s.now()
	rev, err := s.revise(ctx, tx, ps, id, r, recordOfNode(n, r.PeerCount), nil, why)
	return s.nodeView(id, recordOfNode(rev.node, r.PeerCount), ps), rev, err
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
	v, err := s.Node(ctx, id)
	if err != nil {
		return err
	}
	limit := math.MaxInt
	var ended []notify.Ended
	for left := true; left; {
		left, ended, err = s.deletePeersOf(ctx, id, limit)
		if errors.Is(err, store.ErrTooLarge) && limit > deleteBatch {
			left, limit = true, deleteBatch // more than the store takes at once
		} else if err != nil {
			return err
		}
	}
	s.leave(id)
	s.states.drop(id)
	s.agents.drop(id)
	s.health.drop(id)
	s.interfaces.drop(id)
	s.rules.forget()
	s.mu.Lock()
	delete(s.taken, id)
	s.mu.Unlock()
	s.verdicts.drop(id)
	s.forget(id)
	s.tell(ctx, v.Node, event.Event{
		Kind: event.DesiredChanged, Severity: event.Info, Message: fmt.Sprintf("the node was deleted, with %d peers", v.PeerCount),
	})
	s.notifier.TellEnded(ctx, ended)
	return nil
}

// deleteBatch is how many peers one transaction forgets where one can't forget all.
const deleteBatch = 1000

// deletePeersOf forgets up to limit peers and, with the last of them, the node; that may end notification channels.
func (s *Service) deletePeersOf(ctx context.Context, id string, limit int) (left bool, ended []notify.Ended, err error) {
	err = s.o.Store.Update(ctx, func(tx store.Tx) error {
		left, ended = false, nil
		r, err := getNode(tx, id)
		if err != nil {
			return err
		}
		var gone []peerChange
		for row, err := range peerTable.In(id).All(tx, "") {
			if err != nil {
				return err
			}
			if left = len(gone) == limit; left {
				break
			}
			p := row.Value.peer(id, row.ID)
			if err := removePeer(tx, p); err != nil {
				return err
			}
			gone = append(gone, peerChange{before: &p})
		}
		if err := keepDeadlines(tx, gone, peerWrite{}); err != nil {
			return err
		}
		if !left {
			if ended, err = s.notifier.ForgetNode(tx, id); err != nil {
				return err
			}
			return forgetNode(tx, r.node(id, nil))
		}
		next := r
		next.PeerCount -= len(gone)
		_, err = s.revise(ctx, tx, nil, id, r, next, gone, "the node is being deleted")
		return err
	})
	return left, ended, err
}

// forgetNode drops a node that has no peers any more, with all that is kept of it.
func forgetNode(tx store.Tx, n Node) error {
	return errors.Join(releaseNode(tx, n), Node{ID: n.ID}.refer(tx, n), memoryTable.Delete(tx, n.ID), forgetFormers(tx, n.ID, 0),
		forgetRules(tx, n.ID), forgetFiles(tx, n.ID), forgetRevisions(tx, n.ID), nodeTable.Delete(tx, n.ID))
}
