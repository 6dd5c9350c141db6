package panel

import (
	"context"

	"github.com/wgfleet/wgfleet/panel/drift"
)

// checked is what a check of a node found.
type checked struct {
	node   Node
	report drift.Report
	look   look // the digests that were seen; zero where the report is unknown
}

// check looks at a node as Drift does, between two writes and never amid one, and keeps the verdict. It
// errs only where the panel itself can't check; a node that can't be looked at is unknown.
func (s *Service) check(ctx context.Context, nodeID string) (checked, error) {
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return checked{}, err
	}
	defer release()
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return checked{}, err
	}
	number := s.verdicts.begin()
	l, err := s.observe(ctx, st, false)
	c := checked{node: st.node, report: l.verdict(err), look: l}
	s.judged(ctx, st.node, number, c.report)
	return c, nil
}
