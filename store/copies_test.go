package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// upTo is a list of migrations; each writes down that it ran.
func upTo(version int) []Migration {
	list := []Migration{Baseline}
	for v := 2; v <= version; v++ {
		list = append(list, Migration{Version: v, Name: "step", Apply: func(tx Tx) error { return tx.Put(fmt.Sprint("step/", v), nil) }})
	}
	return list
}

func keys(t *testing.T, s Store) string {
	t.Helper()
	var all []string
	require.NoError(t, s.View(t.Context(), func(tx Tx) error {
		for rec, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			all = append(all, rec.Key)
		}
		return nil
	}))
	return strings.Join(all, " ")
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	whole, partial, err := copies(dir)
	require.NoError(t, err)
	require.Empty(t, partial)
	return whole
}

func TestUpgradeKeepsACopyToGoBackTo(t *testing.T) {
	top := t.TempDir()
	o := Options{Dir: filepath.Join(top, "panel"), Copies: filepath.Join(top, "backups"), MasterKey: NewMasterKey()}
	open := func(version int) *db {
		o.Migrations = upTo(version)
		s, err := Open(o)
		require.NoError(t, err)
		return s.(*db)
	}
	s := open(1)
	fill(t, s, "node/a", "a secret of the first schema")
	require.NoError(t, s.Close())
	require.NoDirExists(t, o.Copies, "a new store, and an upgrade to nothing new, need none")
	require.NoError(t, open(1).Close())
	require.NoDirExists(t, o.Copies)

	s = open(2)
	fill(t, s, "node/b", "2")
	require.Equal(t, "node/a node/b step/2", keys(t, s))
	require.NoError(t, s.Close())
	require.Len(t, names(t, o.Copies), 1)
	first := filepath.Join(o.Copies, names(t, o.Copies)[0])
	checkCopy(t, first)

	// The older program says how to go back, and what it says works.
	o.Migrations = upTo(1)
	_, err := Open(o)
	require.ErrorIs(t, err, ErrNewer)
	require.EqualError(t, err, "the store was written by a newer wgfleet: "+o.Dir+" has schema 2, this program knows 1: run the newer one; "+
		"or, to go back and lose what changed since, move "+o.Dir+" away and copy "+first+" in its place")
	require.NoError(t, os.Rename(o.Dir, o.Dir+".away"))
	require.NoError(t, os.CopyFS(o.Dir, os.DirFS(first)))
	s = open(1)
	require.Equal(t, "node/a", keys(t, s))
	require.Equal(t, Schema{Version: 1, Name: "baseline"}, s.Schema())
	require.NoError(t, s.Close())

	// And forward again, further: the newest three stay.
	for v := 2; v <= 6; v++ {
		require.NoError(t, open(v).Close())
	}
	var schemas []string
	for _, name := range names(t, o.Copies) {
		schemas = append(schemas, copyName.FindStringSubmatch(name)[1])
	}
	require.Equal(t, []string{"3", "4", "5"}, schemas)
	o.Migrations = upTo(1)
	_, err = Open(o)
	require.ErrorContains(t, err, "run the newer one, there is no copy from before in "+o.Copies)
}

// checkCopy wants a copy that is private and sealed.
func checkCopy(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	found := false
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), e.Name())
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		require.NotContains(t, string(data), "a secret of")
		found = found || strings.Contains(string(data), "node/a")
	}
	require.True(t, found, "the search must see the keys")
}

func TestUpgradeThatFailsKeepsTheOldestCopies(t *testing.T) {
	top := t.TempDir()
	o := Options{Dir: filepath.Join(top, "panel"), Copies: filepath.Join(top, "backups"), MasterKey: NewMasterKey()}
	s, err := Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	o.Migrations = append(upTo(2), Migration{Version: 3, Name: "broken", Apply: func(Tx) error { return errors.ErrUnsupported }})
	for range 5 {
		_, err = Open(o)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	all := names(t, o.Copies)
	require.Len(t, all, 2)
	require.Contains(t, all[0], "-schema-1")
	require.Contains(t, all[1], "-schema-2")

	require.NoError(t, os.Mkdir(filepath.Join(o.Copies, "20260101T000000.000Z-schema-1.partial"), 0o700), "of one that was killed")
	require.NoError(t, os.WriteFile(filepath.Join(o.Copies, "by-hand.tar"), nil, 0o600))
	_, err = Open(o)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.Len(t, names(t, o.Copies), 2)
	require.FileExists(t, filepath.Join(o.Copies, "by-hand.tar"), "what is not ours stays")
}

func TestNoMigrationWithoutItsCopy(t *testing.T) {
	top := t.TempDir()
	o := Options{Dir: filepath.Join(top, "panel"), Copies: filepath.Join(top, "backups"), MasterKey: NewMasterKey()}
	s, err := Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(o.Copies, nil, 0o600), "a file where the folder should be")
	o.Migrations = upTo(2)
	_, err = Open(o)
	require.ErrorContains(t, err, "keep a copy of the store in "+o.Dir+" before it is migrated")
	require.NoError(t, os.Remove(o.Copies))
	o.Migrations = nil
	s, err = Open(o)
	require.NoError(t, err, "nothing was migrated")
	require.NoError(t, s.Close())
}
