package panel

import (
	"context"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// revised is a revision that was written, with what is told of it.
type revised struct {
	Revision
	node Node
	diff RevisionDiff
}

// revise writes a node's desired state as the next revision, with what leads back to the one before.
// The peers of changes are written already. ps is what the node inherits of. why begins the revision's sentence; it may be "".
func (s *Service) revise(ctx context.Context, tx store.Tx, ps *presets, nodeID string, old, next nodeRecord, changes []peerChange, why string) (revised, error) {
	next.Revision = old.Revision + 1
	d := RevisionDiff{
		From: old.Revision, To: next.Revision,
		Node: diffNode(old.desiredRecord, next.desiredRecord), Peers: diffPeers(changes),
	}
	var before *desiredRecord
	fields := otherFields(old, next)
	if len(d.Node) > 0 {
		before = &old.desiredRecord
		for _, c := range d.Node {
			fields = append(fields, c.Field)
		}
	}
	r := Revision{Number: next.Revision, At: s.now(), Actor: event.ActorOf(ctx), Summary: summaryOf(why, fields, d.Peers), Fields: fields}
	r.Added, r.Updated, r.Removed = countPeers(d.Peers)
	if err := keepRevision(tx, nodeID, r, before, changes); err != nil {
		return revised{}, err
	}
	return revised{Revision: r, node: next.node(nodeID, ps), diff: d}, nodeTable.Put(tx, nodeID, next)
}

// begin writes the first revision of a node.
func (s *Service) begin(ctx context.Context, tx store.Tx, n Node) (revised, error) {
	r := Revision{Number: n.Revision, At: s.now(), Actor: event.ActorOf(ctx), Summary: "the node was created"}
	if err := keepRevision(tx, n.ID, r, nil, nil); err != nil {
		return revised{}, err
	}
	return revised{Revision: r, node: n}, nodeTable.Put(tx, n.ID, recordOfNode(n, 0))
}

// tellRevised leaves an event of each revision.
func (s *Service) tellRevised(ctx context.Context, all ...revised) {
	events := make([]event.Event, len(all))
	for i, r := range all {
		events[i] = r.event()
	}
	s.append(ctx, events...)
}

func (r revised) event() event.Event {
	e := event.Event{
		Kind: event.DesiredChanged, Severity: event.Info, NodeID: r.node.ID, NodeName: r.node.Name, GroupID: r.node.GroupID,
		Actor: r.Actor, Message: r.Summary, Revision: r.Number,
	}
	if len(r.diff.Node) > 0 {
		before, after := halves(r.diff.Node)
		e.Changes = append(e.Changes, event.Change{Op: event.OpNode, Before: before, After: after, Outcome: event.Done})
	}
	for _, p := range r.diff.Peers {
		c := event.Change{Op: p.Op, Peer: p.PublicKey, Name: p.Name, Outcome: event.Done}
		before, after := halves(p.Changes)
		if p.Op != PeerAdded {
			c.Before = before
		}
		if p.Op != PeerRemoved {
			c.After = after
		}
		e.Changes = append(e.Changes, c)
	}
	return e
}

// halves parts changes into what was and what is, in short.
func halves(changes []FieldChange) (before, after map[string]any) {
	before, after = make(map[string]any, len(changes)), make(map[string]any, len(changes))
	for _, c := range changes {
		before[c.Field], after[c.Field] = inBrief(c.Before), inBrief(c.After)
	}
	return before, after
}

// An event shows so much of a value: 200 changes of the longest lists must fit into one record. The
// revision has all of it.
const (
	briefList = 16
	briefText = 200 // bytes
)

// briefly is inBrief of each value; nil stays nil.
func briefly(values map[string]any) map[string]any {
	if values == nil {
		return nil
	}
	out := make(map[string]any, len(values))
	for name, v := range values {
		out[name] = inBrief(v)
	}
	return out
}

func inBrief(v any) any {
	switch v := v.(type) {
	case string:
		return clipTo(v, briefText)
	case []string:
		if len(v) > briefList {
			return append(v[:briefList:briefList], "…")
		}
	}
	return v
}
