package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

var errAbort = errors.New("abort")

func testAbort(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	require.ErrorIs(t, s.Update(t.Context(), func(tx store.Tx) error {
		require.NoError(t, tx.Put("a", []byte("2")))
		require.NoError(t, tx.Put("b", []byte("2")))
		return errAbort
	}), errAbort)
	require.Panics(t, func() {
		_ = s.Update(t.Context(), func(tx store.Tx) error {
			require.NoError(t, tx.Put("a", []byte("3")))
			for range tx.Scan("", "") {
				panic("in a scan")
			}
			return nil
		})
	})
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		requireDump(t, tx, "", "", "a=1")
		return nil
	}))
}

func testSticky(t *testing.T, s store.Store) {
	require.ErrorIs(t, s.Update(t.Context(), func(tx store.Tx) error {
		require.NoError(t, tx.Put("a", nil))
		_ = tx.Put("b", make([]byte, store.MaxValue+1))
		return nil
	}), store.ErrTooLarge)
	_, err := get(t, s, "a")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func testCancel(t *testing.T, s store.Store) {
	put(t, s, "a", "1", "b", "1")
	for name, run := range map[string]func(context.Context, func(store.Tx) error) error{"view": s.View, "update": s.Update} {
		ctx, cancel := context.WithCancelCause(t.Context())
		require.ErrorIs(t, run(ctx, func(tx store.Tx) error {
			for _, err := range tx.Scan("", "") {
				if err != nil {
					return err
				}
				cancel(errAbort)
			}
			return nil
		}), errAbort, name)
		require.ErrorIs(t, run(ctx, func(store.Tx) error { panic("not reached") }), errAbort, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, s.Update(ctx, func(tx store.Tx) error {
		defer cancel()
		return tx.Put("a", []byte("2"))
	}), context.Canceled)
	v, err := get(t, s, "a")
	require.NoError(t, err)
	require.Equal(t, "1", v)
}

// disturbed runs read and a write in a transaction while others change a record between the two, the first time
// only, and returns how often the function ran.
func disturbed(t *testing.T, s store.Store, read func(store.Tx), others func()) int {
	t.Helper()
	runs := 0
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		runs++
		read(tx)
		if runs == 1 {
			others()
		}
		return tx.Put("result", []byte(strconv.Itoa(runs)))
	}))
	v, err := get(t, s, "result")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(runs), v)
	return runs
}

func testConflict(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	read := func(key string) func(store.Tx) {
		return func(tx store.Tx) {
			if _, err := tx.Get(key); err != nil {
				require.ErrorIs(t, err, store.ErrNotFound)
			}
		}
	}
	require.Equal(t, 2, disturbed(t, s, read("a"), func() { put(t, s, "a", "2") }), "changed")
	require.Equal(t, 2, disturbed(t, s, read("b"), func() { put(t, s, "b", "2") }), "made")
	require.Equal(t, 2, disturbed(t, s, read("b"), func() {
		require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("b") }))
	}), "deleted")
}

func scanUntil(t *testing.T, prefix, after, last string) func(store.Tx) {
	return func(tx store.Tx) {
		for rec, err := range tx.Scan(prefix, after) {
			require.NoError(t, err)
			if rec.Key == last {
				return
			}
		}
	}
}

func testPhantom(t *testing.T, s store.Store) {
	put(t, s, "p/2", "", "p/4", "", "p/6", "")
	for name, c := range map[string]struct{ after, last, made string }{
		"before the first":            {"", "", "p/1"},
		"between":                     {"", "", "p/3"},
		"behind the last":             {"", "", "p/7"},
		"in the part that was read":   {"", "p/4", "p/30"},
		"behind after":                {"p/2", "", "p/5"},
		"the end, after nothing else": {"p/9", "", "p/95"},
	} {
		require.Equal(t, 2, disturbed(t, s, scanUntil(t, "p/", c.after, c.last), func() { put(t, s, c.made, "") }), name)
	}
	require.Equal(t, 2, disturbed(t, s, scanUntil(t, "empty/", "", ""), func() { put(t, s, "empty/1", "") }), "an empty range")
}

func testNoConflict(t *testing.T, s store.Store) {
	put(t, s, "p/2", "", "p/4", "", "p/6", "")
	for name, c := range map[string]struct{ after, last, made string }{
		"behind the part that was read": {"", "p/4", "p/5"},
		"not after":                     {"p/4", "", "p/3"},
		"after itself":                  {"p/4", "", "p/4"},
		"another prefix":                {"", "", "p"},
		"a longer name":                 {"", "", "p0/1"},
	} {
		require.Equal(t, 1, disturbed(t, s, scanUntil(t, "p/", c.after, c.last), func() { put(t, s, c.made, "") }), name)
	}
	require.Equal(t, 1, disturbed(t, s, func(store.Tx) {}, func() { put(t, s, "result", "blind") }), "a blind write")
	require.Equal(t, 1, disturbed(t, s, func(tx store.Tx) {
		require.NoError(t, tx.Put("own", nil))
		_, err := tx.Get("own")
		require.NoError(t, err)
	}, func() { put(t, s, "own", "others") }), "one's own write")
}

func testGiveUp(t *testing.T, s store.Store) {
	put(t, s, "a", "0")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	runs := 0
	require.ErrorIs(t, s.Update(ctx, func(tx store.Tx) error {
		if runs++; runs == 3 {
			cancel(errAbort)
		}
		if _, err := tx.Get("a"); err != nil {
			return err
		}
		put(t, s, "a", strconv.Itoa(runs))
		return tx.Put("b", nil)
	}), errAbort)
	require.Equal(t, 3, runs)
	_, err := get(t, s, "b")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func testCounter(t *testing.T, s store.Store) {
	const workers, rounds = 8, 20
	var wg sync.WaitGroup
	errs := make(chan error, workers*rounds)
	for range workers {
		wg.Go(func() {
			for range rounds {
				errs <- s.Update(t.Context(), func(tx store.Tx) error {
					v, err := tx.Get("counter")
					if err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					n, _ := strconv.Atoi(string(v))
					return tx.Put("counter", []byte(strconv.Itoa(n+1)))
				})
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	v, err := get(t, s, "counter")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(workers*rounds), v)
}

// testLowestFree is what address pools do: the conflict lies in a record that nobody has read, for it was not there.
func testLowestFree(t *testing.T, s store.Store) {
	const workers, rounds = 6, 10
	claim := func(tx store.Tx) error {
		free := 0
		for rec, err := range tx.Scan("ip/", "") {
			if err != nil {
				return err
			}
			if rec.Key != fmt.Sprintf("ip/%04d", free) {
				break
			}
			free++
		}
		key := fmt.Sprintf("ip/%04d", free)
		return tx.Put(key, []byte(key))
	}
	var wg sync.WaitGroup
	errs := make(chan error, workers*rounds)
	for range workers {
		wg.Go(func() {
			for range rounds {
				errs <- s.Update(t.Context(), claim)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		n := 0
		for rec, err := range tx.Scan("ip/", "") {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("ip/%04d", n), rec.Key)
			n++
		}
		require.Equal(t, workers*rounds, n)
		return nil
	}))
}

// testImport writes a fleet's peers, each with two index records, and then all of them anew, while others read.
func testImport(t *testing.T, s store.Store) {
	const peers = 10_000
	done := make(chan struct{})
	var wg sync.WaitGroup
	var torn error
	wg.Go(func() {
		for torn == nil {
			torn = s.View(t.Context(), func(tx store.Tx) error { return wholeImport(tx, peers) })
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for _, version := range []string{"1", "2"} {
		require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error { return importPeers(tx, peers, version) }))
		v, err := get(t, s, fmt.Sprintf("peer/node-of-this-test/%032d", peers/2))
		require.NoError(t, err)
		require.Equal(t, version, v[:1])
	}
	close(done)
	wg.Wait()
	require.NoError(t, torn)
}

func importPeers(tx store.Tx, peers int, version string) error {
	for i := range peers {
		id := fmt.Sprintf("%032d", peers-1-i)
		for _, rec := range [][2]string{
			{"peer/node-of-this-test/" + id, version + strings.Repeat("r", 700)},
			{"unique/key/node-of-this-test/" + id + strings.Repeat("k", 27), id},
			{"unique/address/node-of-this-test/" + id + strings.Repeat("a", 8), id},
		} {
			if err := tx.Put(rec[0], []byte(rec[1])); err != nil {
				return err
			}
		}
	}
	return nil
}

func wholeImport(tx store.Tx, peers int) error {
	versions := map[byte]int{}
	for rec, err := range tx.Scan("peer/", "") {
		if err != nil {
			return err
		}
		versions[rec.Value[0]]++
	}
	for version, n := range versions {
		if n != peers {
			return fmt.Errorf("a reader sees %d of %d peers in version %c", n, peers, version)
		}
	}
	return nil
}

// testImportConflict is a large transaction that others meet: it runs again, and deletes as well.
func testImportConflict(t *testing.T, s store.Store) {
	const peers = 10_000
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error { return importPeers(tx, peers, "1") }))
	runs := 0
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		if err := wholeImport(tx, peers); err != nil {
			return err
		}
		if runs++; runs == 1 {
			put(t, s, "peer/new", "1")
			require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("peer/new") }))
		}
		if err := importPeers(tx, peers, "2"); err != nil {
			return err
		}
		for rec, err := range tx.Scan("unique/address/", "") {
			if err != nil {
				return err
			}
			if err := tx.Delete(rec.Key); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Equal(t, 2, runs)
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		requireDump(t, tx, "unique/address/", "", "")
		require.NoError(t, wholeImport(tx, peers))
		return nil
	}))
	put(t, s, "small", "after")
	v, err := get(t, s, "small")
	require.NoError(t, err)
	require.Equal(t, "after", v)
}

func testTooLarge(t *testing.T, s store.Store) {
	value := make([]byte, store.MaxValue)
	require.ErrorIs(t, s.Update(t.Context(), func(tx store.Tx) error {
		for i := range 10_000 {
			if err := tx.Put(strconv.Itoa(i), value); err != nil {
				return err
			}
		}
		return nil
	}), store.ErrTooLarge)
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		requireDump(t, tx, "", "", "")
		return nil
	}))
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		for range 2 * store.MaxTransaction / store.MaxValue {
			if err := tx.Put("again and again", value); err != nil {
				return err
			}
		}
		return nil
	}), "only what is written in the end counts")
}
