package panel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
	"github.com/wgfleet/wgfleet/store/backup"
)

// Passphrase opens a backup.
type Passphrase = backup.Passphrase

// BackupSummary is a backup in short.
type BackupSummary = backup.Summary

// Backup writes all that the panel keeps, as it is at one moment, encrypted before it leaves this function. What w got
// before an error is no backup, and reads as none. That everything was handed out is an event, also where the end of it
// was not.
func (s *Service) Backup(ctx context.Context, w io.Writer, p Passphrase) (BackupSummary, error) {
	if err := p.Check(); err != nil {
		return BackupSummary{}, Invalid("passphrase", "%v", err)
	}
	at := s.o.Store.Schema()
	to, err := backup.NewWriter(w, p, backup.Header{Schema: at.Version, SchemaName: at.Name, Program: s.o.Version, CreatedAt: s.now()})
	if err != nil {
		return BackupSummary{}, err
	}
	sum, err := store.Export(ctx, s.o.Store, to)
	e := event.Event{
		Kind: event.BackupMade, Severity: event.Warning, Actor: event.ActorOf(ctx),
		Message: fmt.Sprintf("a backup of everything was handed out: %d records, SHA-256 %s", sum.Records, sum.SHA256),
	}
	if err != nil {
		e.Message = "a backup of everything was begun and not finished: " + err.Error()
	}
	s.append(context.WithoutCancel(ctx), e)
	return sum, err
}

// OpenBackup reads a backup's header. An error is an InvalidError, or that of the reader.
func OpenBackup(r io.Reader, p Passphrase) (*backup.Reader, error) {
	b, err := backup.Open(r, p)
	return b, BackupProblem(err)
}

// BackupProblem makes what is wrong with a backup an InvalidError, and leaves other errors as they are.
func BackupProblem(err error) error {
	switch {
	case errors.Is(err, backup.ErrPassphrase):
		return Invalid("passphrase", "does not open this backup")
	case errors.Is(err, backup.ErrNotBackup), errors.Is(err, backup.ErrDamaged), errors.Is(err, backup.ErrNewer), errors.Is(err, store.ErrNewer):
		return Invalid("backup", "%v", err)
	case errors.Is(err, store.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// Restored tells that this panel's records are those of a backup, which were read back.
func (s *Service) Restored(ctx context.Context, sum BackupSummary) {
	s.append(context.WithoutCancel(ctx), event.Event{
		Kind: event.BackupRestored, Severity: event.Warning, Actor: event.ActorOf(ctx),
		Message: fmt.Sprintf("the panel was restored from a backup of %s: %d records, read back, SHA-256 %s",
			sum.CreatedAt.Format("2006-01-02 15:04:05 UTC"), sum.Records, sum.SHA256),
	})
}

// Replaceable refuses, with ErrNotEmpty, where a restoration would destroy what somebody made. What a panel makes by
// itself when it starts is nothing: the administrator's key, the log of events, and its own host as a node that nobody
// changed and that has no peers.
func (s *Service) Replaceable(ctx context.Context) error {
	var found holdings
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		found = holdingsOf(tx)
		return found.err
	})
	if err != nil {
		return err
	}
	channels, _, err := s.notifier.Channels(ctx, 0, "")
	found.add(len(channels), ofNotify(err), "notification channel", "notification channels")
	if found.err != nil || len(found.names) == 0 {
		return found.err
	}
	return &refusal{kind: ErrNotEmpty, reason: "this panel is not empty, it has " + strings.Join(found.names, ", ") +
		": a backup is restored into a new one (`wgfleet serve --panel` with an empty data folder), or once these are deleted"}
}

// holdings name what somebody made, each with its number. They keep the first error.
type holdings struct {
	names []string
	err   error
}

func (h *holdings) add(n int, err error, one, many string) {
	if h.err == nil {
		h.err = err
	}
	if n > 0 {
		h.names = append(h.names, counted(n, one, many))
	}
}

// holdingsOf are all but the channels.
func holdingsOf(tx store.Tx) (h holdings) {
	nodes, peers, err := nodesMade(tx)
	h.add(nodes, err, "node", "nodes")
	h.add(peers, err, "peer", "peers")
	n, err := countRows(tx, groupTable, nil)
	h.add(n, err, "group", "groups")
	n, err = countRows(tx, templateTable, nil)
	h.add(n, err, "template", "templates")
	n, err = countRows(tx, ruleTable, nil)
	h.add(n, err, "rule", "rules")
	n, err = countRows(tx, policyTable, func(r policyRecord) bool { return r != (policyRecord{}) })
	h.add(n, err, "policy", "policies")
	n, err = countRows(tx, keyTable, func(r keyRecord) bool { return r.ID != adminKeyName })
	h.add(n, err, "API key", "API keys")
	return h
}

func nodesMade(tx store.Tx) (nodes, peers int, err error) {
	for row, err := range nodeTable.All(tx, "") {
		if err != nil {
			return 0, 0, err
		}
		own, err := untouched(tx, row)
		if err != nil {
			return 0, 0, err
		}
		if !own {
			nodes++
		}
		peers += row.Value.PeerCount
	}
	return nodes, peers, nil
}

// untouched reports whether a node is this host's, with no peers, and no person changed it.
func untouched(tx store.Tx, row store.Row[nodeRecord]) (bool, error) {
	if !row.Value.IsPanelNode || row.Value.PeerCount > 0 {
		return false, nil
	}
	for rev, err := range revisionTable.In(row.ID).All(tx, "") {
		if err != nil || rev.Value.ActorKind == event.ActorKey {
			return false, err
		}
	}
	return true, nil
}

// countRows counts those that count; nil: all do.
func countRows[T any](tx store.Tx, t store.Table[T], counts func(T) bool) (n int, err error) {
	for row, err := range t.All(tx, "") {
		if err != nil {
			return 0, err
		}
		if counts == nil || counts(row.Value) {
			n++
		}
	}
	return n, nil
}
