package web

import (
	"context"
	"fmt"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/event"
)

// aRevision is a change as the fake has it: of all kinds.
func aRevision() panel.Revision {
	return panel.Revision{
		Number: 3, At: epoch, Actor: event.Actor{Kind: event.ActorKey, ID: "k1", Name: "first"}, Summary: "changed weight of the node",
		Fields: []string{"weight"}, Added: 1, Updated: 2, Removed: 3,
	}
}

func aDiff(from, to uint64) panel.RevisionDiff {
	return panel.RevisionDiff{
		From: from, To: to, Node: []panel.FieldChange{{Field: "weight", Before: 100, After: 50}},
		Peers: []panel.PeerDiff{{
			Op: panel.PeerUpdated, PeerID: "p1", PublicKey: publicKey.String(), Name: "Alice's phone",
			Changes: []panel.FieldChange{
				{Field: "allowed_ips", Before: []string(nil), After: []string{"10.0.1.2/32"}},
				{Field: "preshared_key", Before: "set", After: "different"},
			},
		}},
	}
}

func (f *fake) Revisions(_ context.Context, node string, p panel.Page) ([]panel.Revision, string, error) {
	if err := f.enter(false); err != nil {
		return nil, "", err
	}
	_, err := found(f.nodes, "node", node)
	first := panel.Revision{Number: 1, At: epoch, Actor: event.Actor{Kind: event.ActorSystem, Name: "panel"}, Summary: "the node was created"}
	if p.Limit == 1 {
		return []panel.Revision{aRevision()}, "3", err
	}
	return []panel.Revision{aRevision(), first}, "", err
}

func (f *fake) Revision(_ context.Context, node string, number uint64) (panel.RevisionState, error) {
	if err := f.enter(false); err != nil {
		return panel.RevisionState{}, err
	}
	n, err := found(f.nodes, "node", node)
	if number != 3 {
		err = panel.ErrNotFound
	}
	return panel.RevisionState{Revision: aRevision(), Node: n.Node, Peers: []panel.PeerView{f.peers["p1"]}}, err
}

func (f *fake) DiffRevisions(_ context.Context, node string, from, to uint64) (panel.RevisionDiff, error) {
	if err := f.enter(false); err != nil {
		return panel.RevisionDiff{}, err
	}
	_, err := found(f.nodes, "node", node)
	if to == 0 {
		to = 7
	}
	return aDiff(from, to), err
}

func (f *fake) Rollback(_ context.Context, node string, to uint64, planID string) (panel.Rollback, error) {
	if planID != "" && planID != "1-2-3-4" {
		return panel.Rollback{}, fmt.Errorf("the node moved on: %w", panel.ErrConflict)
	}
	if err := f.enter(true); err != nil {
		return panel.Rollback{}, err
	}
	_, err := found(f.nodes, "node", node)
	r := panel.Rollback{PlanID: "1-2-3-4", NodeID: node, From: 7, To: to, Diff: aDiff(7, to), ExpiresAt: epoch, Revision: 7}
	if planID != "" {
		r.Done, r.Revision, r.Warnings = true, 8, []string{"a peer comes back"}
	}
	return r, err
}
