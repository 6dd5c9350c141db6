package panel

import (
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// maxFormers is how many former peers of a node are known; of more the oldest are forgotten, and are
// foreign where they come back.
const maxFormers = 10_000

// formerRecord is a peer that the panel had on a node and has no more, under its public key in hex. It
// tells what the panel lost from what it never had.
type formerRecord struct {
	PeerID string    `json:"peer_id"`
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	// RolledBack: see drift.Former.
	RolledBack bool `json:"rolled_back,omitempty"`
}

var formerTable = store.NewTable[formerRecord]("former") // in a node

// turnover says which peers leave a node by the changes, and which keys come.
func turnover(changes []peerChange) (leave []*Peer, come []wgtypes.Key) {
	after := make(map[wgtypes.Key]bool, len(changes))
	for _, c := range changes {
		if c.after != nil {
			after[c.after.PublicKey] = true
		}
	}
	before := make(map[wgtypes.Key]bool, len(changes))
	for _, c := range changes {
		if c.before == nil {
			continue
		}
		if before[c.before.PublicKey] = true; !after[c.before.PublicKey] {
			leave = append(leave, c.before)
		}
	}
	for key := range after {
		if !before[key] {
			come = append(come, key)
		}
	}
	return leave, come
}

// keepFormers keeps who leaves, and forgets of who comes that they once left. A rollback that undoes an
// adoption leaves no former peer: the node's own peer is foreign again.
func keepFormers(tx store.Tx, nodeID string, changes []peerChange, w peerWrite) error {
	table := formerTable.In(nodeID)
	leave, come := turnover(changes)
	for _, p := range leave {
		if w.rollback && p.Adopted {
			continue
		}
		r := formerRecord{PeerID: p.ID, Name: p.Name, At: w.now, RolledBack: w.rollback}
		if err := table.Put(tx, formerID(p.PublicKey), r); err != nil {
			return err
		}
	}
	for _, key := range come {
		switch _, err := table.Get(tx, formerID(key)); {
		case errors.Is(err, store.ErrNotFound): // the most: a new key
		case err != nil:
			return err
		default:
			if err := table.Delete(tx, formerID(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// partings says what becomes of the peers on the node that a rollback takes from the panel.
func partings(changes []peerChange) (out []string) {
	leave, _ := turnover(changes)
	adopted := 0
	for _, p := range leave {
		if p.Adopted {
			adopted++
		}
	}
	if adopted > 0 {
		out = append(out, counted(adopted, "adopted peer becomes", "adopted peers become")+
			" foreign again: on the node until somebody, or a policy with prune_foreign, removes them")
	}
	if made := len(leave) - adopted; made > 0 {
		out = append(out, counted(made, "peer becomes", "peers become")+
			" orphaned: on the node until somebody, or a policy with prune_orphaned, removes them")
	}
	return out
}

func formerID(k wgtypes.Key) string { return hex.EncodeToString(k[:]) }

func (r formerRecord) former() drift.Former {
	return drift.Former{PeerID: r.PeerID, Name: r.Name, Why: drift.Deleted, At: r.At, RolledBack: r.RolledBack}
}

// formersOf reads the former peers of a node.
func formersOf(tx store.Tx, nodeID string) (map[wgtypes.Key]drift.Former, error) {
	all := make(map[wgtypes.Key]drift.Former)
	for row, err := range formerTable.In(nodeID).All(tx, "") {
		if err != nil {
			return nil, err
		}
		key, err := hex.DecodeString(row.ID)
		if err != nil {
			continue // not of ours
		}
		all[keyOf(key)] = row.Value.former()
	}
	return all, nil
}

// turned returns former peers after the changes; the map itself stays as it is.
func turned(all map[wgtypes.Key]drift.Former, changes []peerChange, at time.Time) map[wgtypes.Key]drift.Former {
	leave, come := turnover(changes)
	come = slices.DeleteFunc(come, func(k wgtypes.Key) bool { _, once := all[k]; return !once })
	if len(leave)+len(come) == 0 {
		return all
	}
	next := maps.Clone(all)
	for _, p := range leave {
		next[p.PublicKey] = formerRecord{PeerID: p.ID, Name: p.Name, At: at}.former()
	}
	for _, key := range come {
		delete(next, key)
	}
	return next
}

// formers are all peers that the panel knows and does not want on the node: those that left, and those
// that are disabled or expired.
func (st *nodeState) formers() map[wgtypes.Key]drift.Former {
	all := maps.Clone(st.former)
	for _, p := range st.peers {
		switch {
		case !p.Enabled:
			all[p.PublicKey] = drift.Former{PeerID: p.ID, Name: p.Name, Why: drift.Disabled, At: p.UpdatedAt}
		case p.expired(st.at):
			all[p.PublicKey] = drift.Former{PeerID: p.ID, Name: p.Name, Why: drift.Expired, At: p.ExpiresAt}
		}
	}
	return all
}

// forgetFormers drops former peers of a node: all but the newest so many.
func forgetFormers(tx store.Tx, nodeID string, keep int) error {
	var rows []store.Row[formerRecord]
	for row, err := range formerTable.In(nodeID).All(tx, "") {
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if len(rows) <= keep {
		return nil
	}
	slices.SortFunc(rows, func(a, b store.Row[formerRecord]) int { return b.Value.At.Compare(a.Value.At) })
	for _, row := range rows[keep:] {
		if err := formerTable.In(nodeID).Delete(tx, row.ID); err != nil {
			return err
		}
	}
	return nil
}
