package store

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
)

func fill(t *testing.T, s Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), func(tx Tx) error { return tx.Put(key, []byte(value)) }))
}

func TestNoValueStandsInTheFolder(t *testing.T) {
	dir, key := filepath.Join(t.TempDir(), "store"), NewMasterKey()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	secrets := []string{"a-shared-secret-of-a-node", strings.Repeat("large value ", 20_000), "overwritten-secret", "deleted-secret"}
	s := openPlain(t, Options{Dir: dir, MasterKey: key, Logger: logger})
	for i, secret := range secrets {
		fill(t, s, "secret/"+strconv.Itoa(i), secret)
	}
	fill(t, s, "secret/2", "new")
	require.NoError(t, s.Update(t.Context(), func(tx Tx) error { return tx.Delete("secret/3") }))
	search := func(when string) {
		found := false
		require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			found = found || bytes.Contains(data, []byte("secret/0"))
			for _, secret := range append(secrets, key.Reveal(), string(key.bytes()[:])) {
				require.False(t, bytes.Contains(data, []byte(secret[:min(len(secret), 24)])), "%s: a value stands in %s", when, path)
			}
			return nil
		}))
		require.True(t, found, "%s: the search must see the keys", when)
	}
	search("open")
	require.NoError(t, s.Close())
	search("closed")
	require.NotEmpty(t, log.String())
	for _, secret := range secrets {
		require.NotContains(t, log.String(), secret[:10])
	}
}

func TestFolderIsPrivateAndSmall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.Mkdir(dir, 0o755))
	s := openPlain(t, Options{Dir: dir})
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	sum := func() (all, valueLog int64) {
		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range files {
			info, err := e.Info()
			require.NoError(t, err)
			all += info.Size()
			if filepath.Ext(e.Name()) == ".vlog" {
				valueLog += info.Size()
			}
		}
		return all, valueLog
	}
	all, _ := sum()
	require.LessOrEqual(t, all, int64(20<<20), "apparent size of an empty store, most of it sparse")
	fill(t, s, "large", strings.Repeat("v", MaxValue))
	require.NoError(t, s.Close())
	all, valueLog := sum()
	require.LessOrEqual(t, all, int64(4<<20))
	require.LessOrEqual(t, valueLog, int64(64), "no value may go to the value log: nothing collects its garbage")
	require.True(t, s.engine.Opts().SyncWrites)
}

func TestWrongMasterKeyFailsAtOpen(t *testing.T) {
	dir, key := t.TempDir(), NewMasterKey()
	s := openPlain(t, Options{Dir: dir, MasterKey: key})
	fill(t, s, "a", "1")
	require.NoError(t, s.Close())
	_, err := Open(Options{Dir: dir, MasterKey: NewMasterKey()})
	require.ErrorIs(t, err, ErrSealed)
	require.EqualError(t, err, "the master key does not open the store in "+dir+": give the key that the store was made with")
	_, err = Open(Options{Dir: dir})
	require.ErrorIs(t, err, ErrSealed)
	_, err = Open(Options{MasterKey: key})
	require.ErrorContains(t, err, "no folder")

	s = openPlain(t, Options{Dir: dir, MasterKey: key}) // nothing was changed, nothing is held
	require.NoError(t, s.engine.Update(func(txn *badger.Txn) error { return txn.Delete([]byte(checkKey)) }))
	require.NoError(t, s.Close())
	_, err = Open(Options{Dir: dir, MasterKey: NewMasterKey()})
	require.ErrorIs(t, err, ErrCorrupt, "a lost check record must not let another key in")
	_, err = Open(Options{Dir: dir, MasterKey: key})
	require.ErrorContains(t, err, dir+" has records but no check record")
}

func TestFolderBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := openPlain(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir, MasterKey: NewMasterKey()})
	require.ErrorIs(t, err, ErrLocked)
	require.EqualError(t, err, "another wgfleet process uses the folder "+dir)
	require.NoError(t, s.Close())
	_, err = Open(Options{Dir: dir, MasterKey: NewMasterKey()})
	require.ErrorIs(t, err, ErrSealed, "the lock must be free again")
}

func TestDamagedFolderIsAnErrorOfOurs(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("no manifest"), 0o600))
	_, err := Open(Options{Dir: dir, MasterKey: NewMasterKey()})
	require.ErrorIs(t, err, ErrEngine)
	_, err = Open(Options{Dir: dir, MasterKey: NewMasterKey()})
	require.NotErrorIs(t, err, ErrLocked)
}

func TestFilesThatACrashLeftUnbornAreNoDamage(t *testing.T) {
	dir, key := t.TempDir(), NewMasterKey()
	s := openPlain(t, Options{Dir: dir, MasterKey: key})
	fill(t, s, "a", "1")
	require.NoError(t, s.Close())
	for _, name := range []string{"00000.mem", "00042.mem", "000042.vlog"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	s = openPlain(t, Options{Dir: dir, MasterKey: key})
	require.NoError(t, s.View(t.Context(), func(tx Tx) error {
		v, err := tx.Get("a")
		require.Equal(t, "1", string(v))
		return err
	}))
	fill(t, s, "a", "2")
}

func TestFullDiskRefusesWritesOnly(t *testing.T) {
	s := openPlain(t, Options{})
	fill(t, s, "a", "1")
	s.free = func() (uint64, error) { return minFree, nil }
	err := s.Update(t.Context(), func(tx Tx) error { return tx.Put("a", []byte("2")) })
	require.ErrorIs(t, err, ErrNoSpace)
	require.NoError(t, s.Update(t.Context(), func(tx Tx) error {
		v, err := tx.Get("a")
		require.Equal(t, "1", string(v))
		return err
	}))
	free, err := freeBytes(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, free)
}

func TestUpdateGivesUpAfterItsTries(t *testing.T) {
	s := openPlain(t, Options{})
	s.tries = 3
	runs := 0
	clash := func(tx Tx) error {
		runs++
		_, _ = tx.Get("a")
		fill(t, s, "a", strconv.Itoa(runs))
		return tx.Put("b", nil)
	}
	err := s.Update(t.Context(), clash)
	require.ErrorIs(t, err, ErrConflict)
	require.Equal(t, 3, runs)

	s.tries = maxTries
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	pause := s.wait(t.Context(), 0)
	require.NoError(t, pause)
	cancel(errors.ErrUnsupported)
	require.ErrorIs(t, s.wait(ctx, 1<<40), errors.ErrUnsupported)
	require.Empty(t, s.order.recent, "no commit may be remembered when nothing runs")
	require.Empty(t, s.order.active)
}

func TestEngineErrorsBecomeOurs(t *testing.T) {
	require.NoError(t, translate(nil))
	require.ErrorIs(t, translate(badger.ErrTxnTooBig), ErrTooLarge)
	require.ErrorIs(t, translate(badger.ErrDBClosed), ErrClosed)
	require.ErrorIs(t, translate(badger.ErrBlockedWrites), ErrClosed)
	err := translate(badger.ErrInvalidDump)
	require.ErrorIs(t, err, ErrEngine)
	require.NotErrorIs(t, err, badger.ErrInvalidDump)
}

func TestEngineLogIsOurs(t *testing.T) {
	var out bytes.Buffer
	l := engineLog{slog.New(slog.NewTextHandler(&out, nil))}
	l.Debugf("quiet %d", 1)
	l.Infof("quiet %d", 2)
	require.Empty(t, out.String())
	l.Warningf("loud %d\n", 3)
	l.Errorf("loud %d\n", 4)
	require.Equal(t, 2, strings.Count(out.String(), `level=WARN msg="storage engine" detail="loud`))
}
