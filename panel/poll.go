package panel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/store"
)

// pollLoop asks all enabled nodes for their health, again and again, until the context ends. Each
// round begins within a quarter of the interval around its time, so that panels do not fall into step.
func (s *Service) pollLoop(ctx context.Context) error {
	for {
		if err := s.pollAll(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.WarnContext(ctx, "the nodes could not be listed", "error", err.Error())
		}
		pause := s.o.PollInterval*3/4 + rand.N(s.o.PollInterval/2+1)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (s *Service) allNodes(ctx context.Context) ([]Node, error) {
	var nodes []Node
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		nodes = nil
		for row, err := range nodeTable.All(tx, "") {
			if err != nil {
				return err
			}
			nodes = append(nodes, row.Value.node(row.ID, nil))
		}
		return nil
	})
	return nodes, err
}

func (s *Service) pollAll(ctx context.Context) error {
	nodes, err := s.allNodes(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		known[n.ID] = true
	}
	s.health.keep(known)
	enabled := slices.DeleteFunc(nodes, func(n Node) bool { return !n.Enabled })
	sideBySide(enabled, s.o.Parallel, func(n Node) bool { return s.poll(ctx, n) })
	return nil
}

// poll asks one node, keeps what it learns, and reports whether it can be worked with.
func (s *Service) poll(ctx context.Context, n Node) bool {
	t, err := s.test(ctx, n)
	if err != nil && ctx.Err() != nil {
		return false // given up here: that says nothing about the node
	}
	s.note(ctx, n, t, err)
	return err == nil
}

func reasonOf(err error) string {
	if e, ok := errors.AsType[*NodeError](err); ok {
		return e.Reason
	}
	return err.Error()
}

// TestNode contacts the agent and tells what came of it; an agent that fails is no error.
func (s *Service) TestNode(ctx context.Context, id string) (NodeTest, error) {
	v, err := s.Node(ctx, id)
	if err != nil {
		return NodeTest{}, err
	}
	n := v.Node
	n.Enabled = true // a person asks: the answer helps to enable it
	t, err := s.test(ctx, n)
	if err != nil {
		t.Error = reasonOf(err)
	}
	if v.Enabled {
		s.note(ctx, n, t, err)
	}
	return t, nil
}

// test makes the calls that show whether a node can be worked with: /health and a signed one.
func (s *Service) test(ctx context.Context, n Node) (NodeTest, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
	defer cancel()
	var t NodeTest
	a, err := s.reach(n)
	if err != nil {
		return t, err
	}
	began := s.o.Now()
	h, err := a.Health(ctx)
	t.Latency = s.o.Now().Sub(began)
	t.Reachable = err == nil
	if e, ok := errors.AsType[*client.Error](err); ok && e.Status != 0 {
		t.Reachable, t.ClockSkew = true, e.Skew
	}
	if err != nil {
		return t, nodeError(n.ID, err)
	}
	t.Version, t.AgentID, t.Capabilities = h.Version, h.AgentID, h.Capabilities
	t.ClockSkew = time.Duration(h.Timestamp-began.Unix()) * time.Second
	if a.Original() {
		// Its /health proves nothing: look at the interface, which is signed.
		if _, err := a.Dump(ctx, n.WGInterface, client.Query{}); err != nil {
			return t, nodeError(n.ID, err)
		}
		t.Authenticated, t.Interfaces = true, []string{n.WGInterface}
		return t, s.meet(ctx, n, a)
	}
	t.Authenticated = true
	return t, s.testInterfaces(ctx, n, a, &t)
}

func (s *Service) testInterfaces(ctx context.Context, n Node, a Agent, t *NodeTest) error {
	list, err := a.Interfaces(ctx)
	if err != nil {
		return nodeError(n.ID, err)
	}
	t.Interfaces = []string{}
	var found *agent.InterfaceSummary
	for _, i := range list {
		t.Interfaces = append(t.Interfaces, i.Name)
		if i.Name == n.WGInterface {
			s.interfaces.put(n.ID, i)
			found = &i
		}
	}
	if err := s.learn(ctx, n, a, found); err != nil || found != nil {
		return err
	}
	return &NodeError{NodeID: n.ID, Code: string(agent.CodeUnknownInterface), answered: true, untouched: true, Reason: fmt.Sprintf(
		"the agent answers, but has no interface %s: make it on the host, or set the node's wg_interface to one that is there (%s)",
		n.WGInterface, cmp.Or(clip(strings.Join(t.Interfaces, ", ")), "there is none"))}
}

// sideBySide runs f for each node, so that one slow node delays no other.
func sideBySide[T any](nodes []Node, limit int, f func(Node) T) []T {
	out := make([]T, len(nodes))
	slots := make(chan struct{}, limit)
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			out[i] = f(n)
		})
	}
	wg.Wait()
	return out
}
