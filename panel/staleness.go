package panel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/wgfleet/wgfleet/store"
)

// fetchedRecord is what a client's file held when it was fetched last.
type fetchedRecord struct {
	Sum string `json:"sum"`
}

// fetchedTable is beside the peers because a fetch is no change of what is wanted: it moves no revision.
var fetchedTable = store.NewTable[fetchedRecord]("fetched") // in a node, by peer

// sumOfFile is a hash of what a client's file holds, whatever its wording. The public key stands for the private
// one. Not ok where the file can't be made now.
func sumOfFile(n Node, p Peer) (sum string, ok bool) {
	if p.PrivateKey.IsZero() || n.fileProblem() != nil {
		return "", false
	}
	h := sha256.New()
	fmt.Fprintln(h, p.PublicKey)
	for _, s := range clientSettings(n, p) {
		fmt.Fprintf(h, "%s.%s=%q\n", s.section, s.key, s.value)
	}
	return hex.EncodeToString(h.Sum(nil)), true
}

// staleIn reports whether the client's file was fetched once and would be another now. Of a file that can't be made
// now, because the node's key was forgotten and is not learnt yet, that is not known.
func staleIn(tx store.Tx, n Node, p Peer) (bool, error) {
	r, err := fetchedTable.In(n.ID).Get(tx, p.ID)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.stale(n, p), nil
}

func (s *Service) stale(ctx context.Context, n Node, p Peer) (bool, error) {
	var stale bool
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		var err error
		stale, err = staleIn(tx, n, p)
		return err
	})
	return stale, err
}

func (r fetchedRecord) stale(n Node, p Peer) bool {
	sum, ok := sumOfFile(n, p)
	return ok && sum != r.Sum
}

// ClientConfigFetched keeps that the client got this file. A failure is logged: the client has it all the same.
func (s *Service) ClientConfigFetched(ctx context.Context, f ClientFile) {
	table := fetchedTable.In(f.nodeID)
	err := s.o.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		if _, err := peerTable.In(f.nodeID).Get(tx, f.peerID); err != nil {
			return err
		}
		if r, err := table.Get(tx, f.peerID); err == nil && r.Sum == f.sum {
			return nil
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return table.Put(tx, f.peerID, fetchedRecord{Sum: f.sum})
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "that a client's file was fetched is not kept",
			slog.String("node", f.nodeID), slog.String("peer", f.peerID), slog.String("error", err.Error()))
	}
}

// forgetFetched drops what is kept of a peer's file, after the peer is gone for good: a deletion that its node does
// not take brings the peer back, and its file is still what it was.
func (s *Service) forgetFetched(ctx context.Context, nodeID, peerID string) {
	err := s.o.Store.Update(ctx, func(tx store.Tx) error { return fetchedTable.In(nodeID).Delete(tx, peerID) })
	if err != nil {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "what is kept of a deleted peer's file is left over",
			slog.String("node", nodeID), slog.String("peer", peerID), slog.String("error", err.Error()))
	}
}

// forgetFiles drops what is kept of all files of a node.
func forgetFiles(tx store.Tx, nodeID string) error {
	for row, err := range fetchedTable.In(nodeID).All(tx, "") {
		if err != nil {
			return err
		}
		if err := fetchedTable.In(nodeID).Delete(tx, row.ID); err != nil {
			return err
		}
	}
	return nil
}

// fetchedOf are the files of a node that were fetched, by peer.
func (s *Service) fetchedOf(ctx context.Context, nodeID string) (map[string]fetchedRecord, error) {
	all := make(map[string]fetchedRecord)
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		clear(all)
		for row, err := range fetchedTable.In(nodeID).All(tx, "") {
			if err != nil {
				return err
			}
			all[row.ID] = row.Value
		}
		return nil
	})
	return all, err
}
