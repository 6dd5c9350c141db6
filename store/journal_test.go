package store

import (
	"errors"
	"fmt"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
)

// draft is a transaction that was not committed: two puts and a deletion.
func draft() *tx {
	return &tx{writes: []*write{
		{key: "ra", value: []byte("new")},
		{key: "rb", deleted: true},
		{key: "rc", value: []byte("new")},
	}}
}

func mark(t *testing.T, s *db) {
	t.Helper()
	require.NoError(t, s.engine.Update(func(txn *badger.Txn) error { return txn.Set([]byte(markerKey), nil) }))
}

func all(t *testing.T, s *db) string {
	t.Helper()
	out := ""
	require.NoError(t, s.View(t.Context(), func(tx Tx) error {
		for rec, err := range tx.Scan("", "") {
			require.NoError(t, err)
			out += fmt.Sprintf("%s=%s ", rec.Key, rec.Value)
		}
		return nil
	}))
	n := 0
	require.NoError(t, s.eachJournaled(func(string, []byte) error { n++; return nil }))
	require.Zero(t, n, "the journal must be empty")
	require.ErrorIs(t, s.engine.View(func(txn *badger.Txn) error {
		_, err := txn.Get([]byte(markerKey))
		return err
	}), badger.ErrKeyNotFound)
	return out
}

func TestCutOffLargeTransactionIsWholeOrNothing(t *testing.T) {
	for name, c := range map[string]struct {
		cut  func(*testing.T, *db)
		want string
	}{
		"staged":          {func(*testing.T, *db) {}, "a=old b=old "},
		"marked":          {mark, "a=new c=new "},
		"marked, applied": {func(t *testing.T, s *db) { mark(t, s); require.NoError(t, s.replay()); mark(t, s) }, "a=new c=new "},
		"marked, half applied": {func(t *testing.T, s *db) {
			mark(t, s)
			require.NoError(t, s.engine.Update(func(txn *badger.Txn) error { return txn.Delete([]byte("rb")) }))
		}, "a=new c=new "},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Dir: t.TempDir(), MasterKey: NewMasterKey()}
			s := openPlain(t, o)
			fill(t, s, "a", "old")
			fill(t, s, "b", "old")
			require.NoError(t, s.stage(draft()))
			c.cut(t, s)
			require.NoError(t, s.Close())
			require.Equal(t, c.want, all(t, openPlain(t, o)))
		})
	}
}

func TestLeftoversOfTheJournalAreNeverReplayed(t *testing.T) {
	s := openPlain(t, Options{})
	fill(t, s, "a", "old")
	require.NoError(t, s.stage(draft()))
	var begun uint64
	committed, err := s.commitLarge(begun, &tx{writes: []*write{{key: "rz", value: []byte("new")}}})
	require.NoError(t, err)
	require.True(t, committed)
	require.Equal(t, "a=old z=new ", all(t, s))
}

func TestNothingIsReadOrWrittenBehindAHalfReplayedCommit(t *testing.T) {
	o := Options{Dir: t.TempDir(), MasterKey: NewMasterKey()}
	s := openPlain(t, o)
	fill(t, s, "a", "old")
	fill(t, s, "b", "old")
	runs := 0
	err := s.update(t.Context(), func(running *tx) error {
		runs++
		// Another transaction's large commit is cut off by an engine that fails, when its marker is on disk.
		require.NoError(t, s.stage(draft()))
		mark(t, s)
		s.gate.Lock()
		s.broken = fmt.Errorf("%w: cut off", ErrEngine)
		s.gate.Unlock()
		return running.put("ra", []byte("would be overwritten by the replay"))
	})
	require.ErrorIs(t, err, ErrEngine)
	require.Equal(t, 1, runs)
	_, err = s.commitLarge(0, &tx{writes: []*write{{key: "rz"}}})
	require.ErrorIs(t, err, ErrEngine, "it would clear the journal")
	nothing := func(Tx) error { return errors.ErrUnsupported }
	require.ErrorIs(t, s.View(t.Context(), nothing), ErrEngine)
	require.ErrorIs(t, s.Update(t.Context(), nothing), ErrEngine)
	require.NoError(t, s.Close())
	require.Equal(t, "a=new c=new ", all(t, openPlain(t, o)))
}
