package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
	"github.com/wgfleet/wgfleet/store/backup"
)

const passphrase backup.Passphrase = "correct horse battery staple"

// export is a backup of a store, to be read again and again.
func export(t testing.TB, s store.Store) ([]byte, backup.Summary) {
	t.Helper()
	var out bytes.Buffer
	at := s.Schema()
	w, err := backup.NewWriter(&out, passphrase, backup.Header{Schema: at.Version, SchemaName: at.Name, Program: "test"})
	require.NoError(t, err)
	sum, err := store.Export(t.Context(), s, w)
	require.NoError(t, err)
	return out.Bytes(), sum
}

func reader(t testing.TB, file io.Reader) *backup.Reader {
	t.Helper()
	r, err := backup.Open(file, passphrase)
	require.NoError(t, err)
	return r
}

func contents(t testing.TB, s store.Store) map[string]string {
	t.Helper()
	got := map[string]string{}
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		for rec, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			got[rec.Key] = string(rec.Value)
		}
		return nil
	}))
	return got
}

func write(t testing.TB, s store.Store, records map[string]string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		for key, value := range records {
			if err := tx.Put(key, []byte(value)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func many(n int) map[string]string {
	out := map[string]string{"large": strings.Repeat("v", store.MaxValue), "empty": ""}
	for i := range n {
		out[fmt.Sprintf("node/%05d", i)] = strings.Repeat(fmt.Sprint(i), 100)
	}
	return out
}

func TestRestoreUnderAnotherMasterKey(t *testing.T) {
	old := openDisk(t, store.Options{Dir: t.TempDir(), MasterKey: store.NewMasterKey()})
	write(t, old, many(3000))
	file, sum := export(t, old)
	require.Equal(t, 3002, sum.Records)

	o := store.Options{Dir: filepath.Join(t.TempDir(), "panel"), MasterKey: store.NewMasterKey()}
	inUse, err := store.Open(o)
	require.NoError(t, err)
	write(t, inUse, map[string]string{"a": "what is dropped"})
	made, err := store.Restore(t.Context(), o, reader(t, bytes.NewReader(file)))
	require.NoError(t, err)
	require.Equal(t, sum, made.Summary)
	require.Equal(t, map[string]string{"a": "what is dropped"}, contents(t, inUse), "nothing changes before it is committed")
	require.NoError(t, inUse.Close())
	require.NoError(t, made.Commit())
	require.NoError(t, made.Discard(), "too late")

	s := openDisk(t, o)
	require.Equal(t, contents(t, old), contents(t, s))
	require.Equal(t, old.Schema(), s.Schema())
	_, sum2 := export(t, s)
	require.Equal(t, sum.SHA256, sum2.SHA256)
	onlyStore(t, o.Dir)
}

// onlyStore wants nothing beside the store's folder.
func onlyStore(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(dir)) {
			names = append(names, e.Name())
		}
	}
	require.Equal(t, []string{filepath.Base(dir)}, names)
}

// Whatever is wrong with a backup is an error, and nothing is left of it.
func TestRestoreThatFailsLeavesNothing(t *testing.T) {
	old := openMemory(t)
	write(t, old, many(200))
	file, _ := export(t, old)
	o := store.Options{Dir: filepath.Join(t.TempDir(), "panel"), MasterKey: store.NewMasterKey()}
	s := openDisk(t, o)
	write(t, s, map[string]string{"a": "1"})
	refused := func(from io.Reader, want error, o store.Options) error {
		t.Helper()
		_, err := store.Restore(t.Context(), o, reader(t, from))
		require.ErrorIs(t, err, want)
		onlyStore(t, o.Dir)
		return err
	}
	refused(bytes.NewReader(file[:len(file)-1]), backup.ErrDamaged, o)
	bad := slices.Clone(file)
	bad[len(bad)/2] ^= 1
	refused(bytes.NewReader(bad), backup.ErrDamaged, o)
	broken := errors.New("connection reset")
	refused(io.MultiReader(bytes.NewReader(file[:len(file)-5000]), failingReader{broken}), broken, o)

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	_, err := store.Restore(ctx, o, reader(t, bytes.NewReader(file)))
	require.ErrorIs(t, err, broken)
	onlyStore(t, o.Dir)

	step := store.Migration{Version: 2, Name: "second", Apply: func(store.Tx) error { return nil }}
	newer := openDisk(t, store.Options{Dir: t.TempDir(), MasterKey: store.NewMasterKey(), Migrations: []store.Migration{store.Baseline, step}})
	file, sum := export(t, newer)
	require.Equal(t, 2, sum.Schema)
	err = refused(bytes.NewReader(file), store.ErrNewer, o)
	require.EqualError(t, err, "the store was written by a newer wgfleet: the backup of test has schema 2, this program knows 1: restore it with that one")

	file, _ = export(t, old)
	failing := step
	failing.Apply = func(store.Tx) error { return errors.ErrUnsupported }
	o.Migrations = []store.Migration{store.Baseline, failing}
	refused(bytes.NewReader(file), errors.ErrUnsupported, o)
	require.Equal(t, map[string]string{"a": "1"}, contents(t, s))
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// An old backup goes through the migrations that came since.
func TestRestoreMigrates(t *testing.T) {
	old := openMemory(t)
	write(t, old, map[string]string{"node/a": "1"})
	file, sum := export(t, old)
	o := store.Options{
		Dir: filepath.Join(t.TempDir(), "panel"), MasterKey: store.NewMasterKey(), Copies: filepath.Join(t.TempDir(), "backups"),
		Migrations: []store.Migration{store.Baseline, {Version: 2, Name: "second", Apply: func(tx store.Tx) error { return tx.Put("node/b", []byte("2")) }}},
	}
	made, err := store.Restore(t.Context(), o, reader(t, bytes.NewReader(file)))
	require.NoError(t, err)
	require.Equal(t, sum, made.Summary, "the hash is of the records as they are in the backup")
	require.NoError(t, made.Commit())
	s := openDisk(t, o)
	require.Equal(t, map[string]string{"node/a": "1", "node/b": "2"}, contents(t, s))
	require.Equal(t, store.Schema{Version: 2, Name: "second"}, s.Schema())
	require.NoDirExists(t, o.Copies, "the backup is the copy")
}

// Each of 1,000 transactions makes three records equal, and a fourth: a backup that is of one moment has them so.
func TestExportIsOfOneMoment(t *testing.T) {
	s := openDisk(t, store.Options{Dir: t.TempDir(), MasterKey: store.NewMasterKey()})
	write(t, s, many(2000))
	write(t, s, map[string]string{"a": "0", "m": "0", "z": "0"})
	const taken = 6
	var files [taken]bytes.Buffer
	var begun [taken]*backup.Writer // the passphrase costs time
	for i := range begun {
		w, err := backup.NewWriter(&files[i], passphrase, backup.Header{Schema: 1})
		require.NoError(t, err)
		begun[i] = w
	}
	var wg sync.WaitGroup
	written := make(chan struct{}, writers*eachWrites)
	for w := range writers {
		wg.Go(func() {
			for i := range eachWrites {
				n := fmt.Sprint(1 + w*eachWrites + i)
				write(t, s, map[string]string{"a": n, "m": n, "z": n, placeOf(n): n})
				written <- struct{}{}
			}
		})
	}
	for _, w := range begun {
		for range writers * eachWrites / (taken + 1) {
			<-written
		}
		_, err := store.Export(t.Context(), s, w)
		require.NoError(t, err)
	}
	wg.Wait()
	apart := map[string]bool{}
	for i := range files {
		got := map[string]string{}
		b := reader(t, &files[i])
		for {
			key, value, err := b.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			got[key] = string(value)
		}
		require.Equal(t, got["a"], got["m"])
		require.Equal(t, got["a"], got["z"])
		if got["a"] != "0" {
			require.Equal(t, got["a"], got[placeOf(got["a"])], "the last that was written is whole")
		}
		apart[got["a"]] = true
	}
	require.Greater(t, len(apart), taken/2, "they were taken while others wrote")
}

const (
	writers    = 8
	eachWrites = 125
)

// placeOf is where the writer of a number keeps it: each has its own, so that nobody writes one twice.
func placeOf(n string) string { return "new/" + n }

// restorerDir makes the test binary a program that restores the backup in that folder over the store in it, and says so.
const restorerDir = "STORE_TEST_RESTORER_DIR"

func restorerOptions(dir string) (store.Options, error) {
	key, err := store.LoadOrCreateMasterKey(filepath.Join(dir, "master.key"))
	return store.Options{Dir: filepath.Join(dir, "panel"), MasterKey: key}, err
}

func restoreUntilKilled(dir string) int {
	o, err := restorerOptions(dir)
	if err != nil {
		return fail(err)
	}
	f, err := os.Open(filepath.Join(dir, "file"))
	if err != nil {
		return fail(err)
	}
	s, err := store.Open(o)
	if err != nil {
		return fail(err)
	}
	from, err := backup.Open(f, passphrase)
	if err != nil {
		return fail(err)
	}
	fmt.Println("begun")
	r, err := store.Restore(context.Background(), o, from)
	if err == nil {
		err = errors.Join(s.Close(), r.Commit())
	}
	if err == nil {
		s, err = store.Open(o)
	}
	if err != nil {
		return fail(err)
	}
	fmt.Println("restored")
	if err := s.Close(); err != nil {
		return fail(err)
	}
	return 0
}

// A restoration that is killed at any moment leaves the store as it was or as the backup is.
func TestKilledRestoreIsWholeOrNothing(t *testing.T) {
	old := openMemory(t)
	write(t, old, many(3000))
	file, _ := export(t, old)
	whole := contents(t, old)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), file, 0o600))
	o, err := restorerOptions(dir)
	require.NoError(t, err)
	run := func(after time.Duration) (took time.Duration) {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), restorerDir+"="+dir)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		first := make([]byte, len("begun\n"))
		_, err = io.ReadFull(out, first)
		require.NoError(t, err, "it did not begin")
		began := time.Now()
		if after > 0 {
			timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			defer timer.Stop()
		}
		_, _ = io.Copy(io.Discard, out)
		took = time.Since(began)
		if err := cmd.Wait(); err != nil {
			require.Empty(t, stderr.String(), "it was killed, no more")
		}
		return took
	}
	reset := func() {
		require.NoError(t, os.RemoveAll(o.Dir))
		s, err := store.Open(o)
		require.NoError(t, err)
		write(t, s, map[string]string{"before": "1"})
		require.NoError(t, s.Close())
	}
	reset()
	takes := run(0)
	var empty, full int
	for i := range 12 {
		reset()
		run(takes * time.Duration((i+1)*(i+1)) / 120)
		s, err := store.Open(o)
		require.NoError(t, err)
		switch got := contents(t, s); len(got) {
		case 1:
			require.Equal(t, map[string]string{"before": "1"}, got)
			empty++
		default:
			require.Equal(t, whole, got)
			full++
		}
		require.NoError(t, s.Close())
		onlyStore(t, o.Dir)
	}
	t.Logf("killed within %v: %d times as before, %d times whole", takes, empty, full)
	require.Positive(t, empty, "some were killed before the end")
}

// Each step of taking the place of a store may be the last one before a crash.
func TestRestoreIsPutInPlaceFromAnyStep(t *testing.T) {
	old := openMemory(t)
	write(t, old, map[string]string{"a": "1"})
	file, _ := export(t, old)
	for _, cut := range []func(dir string) error{
		func(string) error { return nil },
		func(dir string) error { return os.Rename(dir, dir+".replaced") },
		func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".replaced"), os.Rename(dir+".restored", dir))
		},
		func(dir string) error { return os.MkdirAll(dir+".restoring/half", 0o700) },
		func(dir string) error { return os.MkdirAll(dir+".replaced/old", 0o700) },
	} {
		o := store.Options{Dir: filepath.Join(t.TempDir(), "panel"), MasterKey: store.NewMasterKey()}
		s, err := store.Open(o)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		made, err := store.Restore(t.Context(), o, reader(t, bytes.NewReader(file)))
		require.NoError(t, err)
		require.NoError(t, made.Commit())
		require.NoError(t, cut(o.Dir))
		s = openDisk(t, o)
		require.Equal(t, map[string]string{"a": "1"}, contents(t, s))
		onlyStore(t, o.Dir)
	}
}
