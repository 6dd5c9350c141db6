package storetest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

// Open gives an empty store with the default settings; the suite closes it.
type Open func(t testing.TB) store.Store

// Run runs the suite; each case has a store of its own.
func Run(t *testing.T, open Open) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, store.Store){
		"a record is put, read, overwritten and deleted":      testRecord,
		"slices are not shared with the caller":               testCopies,
		"keys and values have limits":                         testLimits,
		"a View reads only, and one moment":                   testView,
		"a scan is ordered, bounded and complete":             testScan,
		"a scan shows own writes from before it":              testScanOwn,
		"scans may be nested, left and followed by writes":    testScanNested,
		"a failed function commits nothing":                   testAbort,
		"a failed write commits nothing though it is ignored": testSticky,
		"an ended transaction refuses all":                    testEnded,
		"a cancelled context ends a transaction":              testCancel,
		"a changed record runs the function again":            testConflict,
		"a gap that is filled runs the function again":        testPhantom,
		"what was not read is no conflict":                    testNoConflict,
		"the retries end with the context":                    testGiveUp,
		"no increment is lost":                                testCounter,
		"concurrent claims of the lowest gap differ":          testLowestFree,
		"an import of 10,000 peers is seen whole or not":      testImport,
		"an import that others meet runs again":               testImportConflict,
		"a transaction that is too large commits nothing":     testTooLarge,
		"a watch tells changes in commit order":               testWatch,
		"a watch keeps the order of concurrent commits":       testWatchOrder,
		"a slow watch ends and hinders nobody":                testWatchLagged,
		"a watch ends with its context":                       testWatchCancel,
		"a watch ends with the store":                         testWatchClose,
		"a closed store refuses all":                          testClosed,
		"closing waits for transactions":                      testCloseWaits,
		"random transactions equal a map":                     testModel,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			defer func() { require.NoError(t, s.Close()) }()
			test(t, s)
		})
	}
}

func put(t testing.TB, s store.Store, pairs ...string) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := tx.Put(pairs[i], []byte(pairs[i+1])); err != nil {
				return err
			}
		}
		return nil
	}))
}

func get(t testing.TB, s store.Store, key string) (value string, err error) {
	t.Helper()
	err = s.View(t.Context(), func(tx store.Tx) error {
		v, err := tx.Get(key)
		value = string(v)
		return err
	})
	return value, err
}

// dump is a scan as "key=value" words.
func dump(tx store.Tx, prefix, after string) (string, error) {
	var words []string
	for rec, err := range tx.Scan(prefix, after) {
		if err != nil {
			return "", err
		}
		words = append(words, rec.Key+"="+string(rec.Value))
	}
	return strings.Join(words, " "), nil
}

func requireDump(t testing.TB, tx store.Tx, prefix, after, want string) {
	t.Helper()
	got, err := dump(tx, prefix, after)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func testRecord(t *testing.T, s store.Store) {
	_, err := get(t, s, "node/a")
	require.ErrorIs(t, err, store.ErrNotFound)
	put(t, s, "node/a", "one", "node/b", "")
	v, err := get(t, s, "node/a")
	require.NoError(t, err)
	require.Equal(t, "one", v)
	v, err = get(t, s, "node/b")
	require.NoError(t, err)
	require.Empty(t, v)
	put(t, s, "node/a", "two")
	v, err = get(t, s, "node/a")
	require.NoError(t, err)
	require.Equal(t, "two", v)
	for range 2 { // deleting what is gone is no error
		require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.Delete("node/a") }))
		_, err = get(t, s, "node/a")
		require.ErrorIs(t, err, store.ErrNotFound)
	}
}

func testCopies(t *testing.T, s store.Store) {
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		v := []byte("value")
		require.NoError(t, tx.Put("k", v))
		v[0] = 'X'
		got, err := tx.Get("k")
		require.NoError(t, err)
		require.Equal(t, "value", string(got))
		got[0] = 'X'
		for rec, err := range tx.Scan("", "") {
			require.NoError(t, err)
			require.Equal(t, "value", string(rec.Value))
			rec.Value[0] = 'X'
		}
		return nil
	}))
	v, err := get(t, s, "k")
	require.NoError(t, err)
	require.Equal(t, "value", v)
}

func testLimits(t *testing.T, s store.Store) {
	long, big := strings.Repeat("k", store.MaxKey), strings.Repeat("v", store.MaxValue)
	put(t, s, long, big, "\x00", "nul", "!badger!txn", "engine", "m", "meta")
	for key, want := range map[string]string{long: big, "\x00": "nul", "!badger!txn": "engine", "m": "meta"} {
		v, err := get(t, s, key)
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	for name, c := range map[string]struct {
		do   func(store.Tx) error
		want error
	}{
		"no key":       {func(tx store.Tx) error { return tx.Put("", nil) }, store.ErrKey},
		"long key":     {func(tx store.Tx) error { return tx.Put(long+"k", nil) }, store.ErrKey},
		"long delete":  {func(tx store.Tx) error { return tx.Delete(long + "k") }, store.ErrKey},
		"large value":  {func(tx store.Tx) error { return tx.Put("k", []byte(big+"v")) }, store.ErrTooLarge},
		"get no key":   {func(tx store.Tx) error { _, err := tx.Get(""); return err }, store.ErrNotFound},
		"get long key": {func(tx store.Tx) error { _, err := tx.Get(long + "k"); return err }, store.ErrNotFound},
	} {
		require.ErrorIs(t, s.Update(t.Context(), c.do), c.want, name)
	}
}

func testView(t *testing.T, s store.Store) {
	put(t, s, "a", "1", "b", "1")
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		require.ErrorIs(t, tx.Put("a", nil), store.ErrReadOnly)
		require.ErrorIs(t, tx.Delete("a"), store.ErrReadOnly)
		put(t, s, "a", "2", "b", "2", "c", "2")
		v, err := tx.Get("a")
		require.NoError(t, err)
		require.Equal(t, "1", string(v))
		requireDump(t, tx, "", "", "a=1 b=1")
		return nil
	}))
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		requireDump(t, tx, "", "", "a=2 b=2 c=2")
		return nil
	}))
}

func testScan(t *testing.T, s store.Store) {
	put(t, s, "peer/ab/1", "x", "peer/a/2", "y", "peer/a/10", "z", "peer", "n", "peer/a", "m", "peer0", "o", "q", "p")
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		for _, c := range []struct{ prefix, after, want string }{
			{"peer/a/", "", "peer/a/10=z peer/a/2=y"},
			{"peer/a/", "peer/a/10", "peer/a/2=y"},
			{"peer/a/", "peer/a/11", "peer/a/2=y"},
			{"peer/a/", "peer/a/2", ""},
			{"peer/a/", "zzz", ""},
			{"peer/a", "", "peer/a=m peer/a/10=z peer/a/2=y peer/ab/1=x"},
			{"peer/ab/", "peer/a/2", "peer/ab/1=x"},
			{"", "peer/ab/1", "peer0=o q=p"},
			{"q", "", "q=p"},
			{"r", "", ""},
			{"\xff", "", ""},
		} {
			requireDump(t, tx, c.prefix, c.after, c.want)
		}
		return nil
	}))
	// More than the pages of any engine.
	var pairs []string
	for i := range 1500 {
		pairs = append(pairs, fmt.Sprintf("many/%05d", i), "v")
	}
	put(t, s, pairs...)
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		i := 0
		for rec, err := range tx.Scan("many/", "") {
			require.NoError(t, err)
			require.Equal(t, pairs[2*i], rec.Key)
			i++
		}
		require.Equal(t, 1500, i)
		return nil
	}))
}

func testScanOwn(t *testing.T, s store.Store) {
	put(t, s, "a1", "old", "a3", "old", "a5", "old")
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		for _, key := range []string{"a6", "a0", "a2", "a3", "b", "A"} {
			require.NoError(t, tx.Put(key, []byte("new")))
		}
		require.NoError(t, tx.Delete("a5"))
		require.NoError(t, tx.Delete("a2"))
		requireDump(t, tx, "a", "", "a0=new a1=old a3=new a6=new")
		requireDump(t, tx, "a", "a0", "a1=old a3=new a6=new")
		requireDump(t, tx, "a", "a3", "a6=new")
		var keys []string
		for rec, err := range tx.Scan("a", "") {
			require.NoError(t, err)
			keys = append(keys, rec.Key)
			require.NoError(t, tx.Delete(rec.Key))
			require.NoError(t, tx.Put(rec.Key+"+", []byte("moved")))
			require.NoError(t, tx.Put("a3", []byte("changed")))
		}
		require.Equal(t, []string{"a0", "a1", "a3", "a6"}, keys, "the loop's own writes must not show in it")
		_, err := tx.Get("a5")
		require.ErrorIs(t, err, store.ErrNotFound)
		return nil
	}))
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		requireDump(t, tx, "", "", "A=new a0+=moved a1+=moved a3=changed a3+=moved a6+=moved b=new")
		return nil
	}))
}

func testScanNested(t *testing.T, s store.Store) {
	put(t, s, "n/a", "", "n/b", "", "p/a/1", "", "p/a/2", "", "p/b/1", "")
	walk := func(tx store.Tx) error {
		var seen []string
		for n, err := range tx.Scan("n/", "") {
			require.NoError(t, err)
			for p, err := range tx.Scan("p/"+strings.TrimPrefix(n.Key, "n/")+"/", "") {
				require.NoError(t, err)
				seen = append(seen, p.Key)
				break
			}
		}
		require.Equal(t, []string{"p/a/1", "p/b/1"}, seen)
		return nil
	}
	require.NoError(t, s.View(t.Context(), walk))
	require.NoError(t, s.Update(t.Context(), walk))
}

func testEnded(t *testing.T, s store.Store) {
	for name, run := range map[string]func(context.Context, func(store.Tx) error) error{"view": s.View, "update": s.Update} {
		var kept store.Tx
		require.NoError(t, run(t.Context(), func(tx store.Tx) error { kept = tx; return nil }))
		_, err := kept.Get("a")
		require.ErrorIs(t, err, store.ErrClosed, name)
		_, err = dump(kept, "", "")
		require.ErrorIs(t, err, store.ErrClosed, name)
		require.ErrorIs(t, kept.Put("a", nil), store.ErrClosed, name)
	}
}
