package panel

import (
	"context"
	"slices"
)

// NodePlan is the plan of one of several nodes, or why there is none.
type NodePlan struct {
	NodeID  string
	Planned Planned
	Error   string // one sentence; "": Planned holds
}

// PlanAll plans for these nodes, or with nil for all enabled ones, side by side. A node that can't be
// planned for is no error of the whole; one that is not there is.
func (s *Service) PlanAll(ctx context.Context, nodeIDs []string, o ReconcileOptions) ([]NodePlan, error) {
	o.DryRun = true
	if err := o.check(); err != nil {
		return nil, err
	}
	all, err := s.allNodes(ctx)
	if err != nil {
		return nil, err
	}
	chosen := slices.DeleteFunc(slices.Clone(all), func(n Node) bool {
		return nodeIDs == nil && !n.Enabled || nodeIDs != nil && !slices.Contains(nodeIDs, n.ID)
	})
	for _, id := range nodeIDs {
		if !slices.ContainsFunc(chosen, func(n Node) bool { return n.ID == id }) {
			return nil, notFoundf("there is no node %q", clip(id))
		}
	}
	return sideBySide(chosen, s.o.Parallel, func(n Node) NodePlan {
		r, err := s.Reconcile(ctx, n.ID, o)
		if err != nil {
			return NodePlan{NodeID: n.ID, Error: reasonOf(err)}
		}
		return NodePlan{NodeID: n.ID, Planned: r.Planned}
	}), nil
}
