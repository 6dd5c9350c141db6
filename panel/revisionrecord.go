package panel

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

const (
	// keepRevisions is how many revisions of a node are known, the newest.
	keepRevisions = 200
	// undoSize is how many bytes of peers one row holds, but for one larger peer: below store.MaxValue.
	undoSize = 128 << 10
)

// A revision is kept as what undoes it: an older state is the present one with each newer revision
// undone. The newest comes first in both tables: see revisionID.
var (
	revisionTable = store.NewTable[revisionRecord]("revision") // in a node
	undoTable     = store.NewTable[undoRecord]("undo")         // in a node
)

// revisionRecord is a Revision at rest.
type revisionRecord struct {
	At        time.Time `json:"at"`
	ActorKind string    `json:"actor_kind"`
	ActorID   string    `json:"actor_id,omitempty"`
	ActorName string    `json:"actor_name,omitempty"`
	Summary   string    `json:"summary"`
	Fields    []string  `json:"fields,omitempty"`
	Added     int       `json:"added,omitempty"`
	Updated   int       `json:"updated,omitempty"`
	Removed   int       `json:"removed,omitempty"`
	Rows      int       `json:"rows,omitempty"` // in undoTable
	// Void: the revision changes nothing, and stands for those that the node refused and that were put back.
	Void bool `json:"void,omitempty"`
	// Skipped is how many numbers up to this one have no revision, for what they changed was put back.
	Skipped uint64 `json:"skipped,omitempty"`
}

// place is the revision's place among those that are kept.
func (r revisionRecord) place(number uint64) uint64 { return number - r.Skipped }

// undoRecord is a part of what a revision changed, as it was before.
type undoRecord struct {
	Node  *desiredRecord    `json:"node,omitempty"`  // nil: not in this row
	Peers []json.RawMessage `json:"peers,omitempty"` // each an undoPeer
}

// undoPeer is a peer as it was before a revision; nil: it was not there.
type undoPeer struct {
	ID     string      `json:"id"`
	Before *peerRecord `json:"before,omitempty"`
}

func recordOfRevision(r Revision, rows int) revisionRecord {
	return revisionRecord{
		At: r.At, ActorKind: r.Actor.Kind, ActorID: r.Actor.ID, ActorName: r.Actor.Name, Summary: r.Summary,
		Fields: r.Fields, Added: r.Added, Updated: r.Updated, Removed: r.Removed, Rows: rows,
	}
}

func (r revisionRecord) revision(number uint64) Revision {
	return Revision{
		Number: number, At: r.At, Actor: event.Actor{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName}, Summary: r.Summary,
		Fields: r.Fields, Added: r.Added, Updated: r.Updated, Removed: r.Removed,
	}
}

// revisionID sorts the newest first.
func revisionID(number uint64) string { return fmt.Sprintf("%016x", ^number) }

// revisionNumber is the way back.
func revisionNumber(id string) (uint64, error) {
	turned, err := strconv.ParseUint(id, 16, 64)
	return ^turned, err
}

func undoID(number uint64, row int) string { return fmt.Sprintf("%s-%06d", revisionID(number), row) }

// undoRows puts what was before into as few rows as take it.
func undoRows(node *desiredRecord, changes []peerChange) ([]undoRecord, error) {
	var rows []undoRecord
	if node != nil {
		rows = append(rows, undoRecord{Node: node})
	}
	row, size := undoRecord{}, 0
	for _, u := range undoPeers(changes) {
		text, err := json.Marshal(u)
		if err != nil {
			return nil, fmt.Errorf("peer %s has no JSON", u.ID) // the encoder's error may quote a key
		}
		if size > 0 && size+len(text) > undoSize {
			rows = append(rows, row)
			row, size = undoRecord{}, 0
		}
		row.Peers, size = append(row.Peers, text), size+len(text)
	}
	if size > 0 {
		rows = append(rows, row)
	}
	return rows, nil
}

func undoPeers(changes []peerChange) []undoPeer {
	out := make([]undoPeer, 0, len(changes))
	for _, c := range changes {
		if c.before == nil {
			out = append(out, undoPeer{ID: c.after.ID})
			continue
		}
		out = append(out, undoPeer{ID: c.before.ID, Before: new(recordOfPeer(*c.before))})
	}
	return out
}

// past is a node's desired state at a revision.
type past struct {
	id    string // of the node
	node  nodeRecord
	peers map[string]peerRecord
	at    uint64
}

// presentOf reads a node's desired state as it is.
func presentOf(tx store.Tx, nodeID string) (*past, error) {
	r, err := getNode(tx, nodeID)
	if err != nil {
		return nil, err
	}
	p := &past{id: nodeID, node: r, peers: make(map[string]peerRecord, r.PeerCount), at: r.Revision}
	for row, err := range peerTable.In(nodeID).All(tx, "") {
		if err != nil {
			return nil, err
		}
		p.peers[row.ID] = row.Value
	}
	return p, nil
}

// rewind goes back to an older revision, whose own record must be kept still.
func (p *past) rewind(tx store.Tx, to uint64) error {
	if to == p.at {
		return nil
	}
	if _, err := revisionOf(tx, p.id, p.node, to); err != nil {
		return err
	}
	since, err := revisionsBetween(tx, p.id, to, 0)
	if err != nil {
		return err
	}
	for _, r := range since {
		if r.number > p.at {
			continue
		}
		p.at = r.number
		for row := range r.record.Rows {
			u, err := undoTable.In(p.id).Get(tx, undoID(p.at, row))
			if err != nil {
				return err
			}
			if err := p.undo(u); err != nil {
				return err
			}
		}
	}
	p.at = to
	return nil
}

func (p *past) undo(u undoRecord) error {
	if u.Node != nil {
		p.node.desiredRecord = *u.Node
	}
	for _, text := range u.Peers {
		var was undoPeer
		if json.Unmarshal(text, &was) != nil { // the decoder's error may quote a key
			return fmt.Errorf("%w: a peer of revision %d of node %s", store.ErrCorrupt, p.at, p.id)
		}
		if was.Before == nil {
			delete(p.peers, was.ID)
		} else {
			p.peers[was.ID] = *was.Before
		}
	}
	return nil
}

// nouns returns the state in the panel's own types, the peers in the order of their making. What groups and
// templates say is as it is now.
func (p *past) nouns(ps *presets) (Node, []Peer) {
	peers := make([]Peer, 0, len(p.peers))
	for id, r := range p.peers {
		peers = append(peers, r.peer(p.id, id))
	}
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Compare(a.ID, b.ID) })
	return p.node.node(p.id, ps), peers
}

// revisionOf returns one revision of a node; now is the node as it is.
func revisionOf(tx store.Tx, nodeID string, now nodeRecord, number uint64) (Revision, error) {
	if number == 0 || number > now.Revision {
		return Revision{}, notFoundf("node %s has no revision %d: the newest is %d", now.Name, number, now.Revision)
	}
	r, err := revisionTable.In(nodeID).Get(tx, revisionID(number))
	switch {
	case err == nil:
		return r.revision(number), nil
	case !errors.Is(err, store.ErrNotFound):
		return Revision{}, err
	case number == now.Revision: // its state is known all the same
		return Revision{Number: number, At: now.UpdatedAt, Summary: "made before revisions were kept"}, nil
	}
	if older, err := revisionsBetween(tx, nodeID, 0, number); err != nil || len(older) == 0 {
		return Revision{}, cmp.Or(err, notKept(now, number))
	}
	return Revision{}, notFoundf("node %s has no revision %d: it was put back, as the node did not take it", now.Name, number)
}

func notKept(n nodeRecord, number uint64) error {
	return notFoundf("revision %d of node %s is no longer kept: the newest %d are", number, n.Name, keepRevisions)
}
