package panel

import (
	"context"
	"log/slog"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// fileDrift asks what a restart of the node's interface would change; nil where the node can't tell.
// That is no reason not to know how the node is: it is logged, and the report stands.
func (s *Service) fileDrift(ctx context.Context, n Node) *drift.FileDrift {
	ctx, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
	defer cancel()
	a, err := s.reach(n)
	var d *agent.FileDrift
	if err == nil {
		d, err = a.FileDrift(ctx, n.WGInterface)
	}
	if err != nil {
		s.o.Logger.LogAttrs(ctx, slog.LevelDebug, "the file on a node's host was not compared", slog.String("node", n.ID), slog.String("error", err.Error()))
		return nil
	}
	if d == nil {
		return nil
	}
	out := &drift.FileDrift{Path: d.Path, Speaks: d.Speaks, Count: d.Count}
	for _, m := range d.Drift[:min(len(d.Drift), agent.MaxFileDrift)] {
		out.Mismatches = append(out.Mismatches, drift.FileMismatch(m))
	}
	return out
}
