package storetest

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

// take reads n events as words.
func take(t testing.TB, next func() (store.Event, error, bool), n int) []string {
	t.Helper()
	var words []string
	for range n {
		ev, err, ok := next()
		require.True(t, ok)
		require.NoError(t, err)
		word := ev.Key + "=" + string(ev.Value)
		if ev.Deleted {
			require.Nil(t, ev.Value)
			word = "-" + ev.Key
		}
		words = append(words, word)
	}
	return words
}

func requireEnd(t testing.TB, next func() (store.Event, error, bool), want error) {
	t.Helper()
	_, err, ok := next()
	require.True(t, ok)
	require.ErrorIs(t, err, want)
	_, _, ok = next()
	require.False(t, ok)
}

func testWatch(t *testing.T, s store.Store) {
	put(t, s, "n/0", "before")
	next, stop := iter.Pull2(s.Watch(t.Context(), "n/"))
	defer stop()
	all, stopAll := iter.Pull2(s.Watch(t.Context(), ""))
	defer stopAll()

	put(t, s, "n/2", "x", "n/1", "y", "m/1", "other")
	require.ErrorIs(t, s.Update(t.Context(), func(tx store.Tx) error {
		require.NoError(t, tx.Put("n/1", []byte("never")))
		return errAbort
	}), errAbort)
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		require.NoError(t, tx.Put("n/1", []byte("first")))
		require.NoError(t, tx.Put("n/1", []byte("last")))
		return tx.Delete("n/2")
	}))
	require.Equal(t, []string{"n/1=y", "n/2=x", "n/1=last", "-n/2"}, take(t, next, 4))
	require.Equal(t, []string{"m/1=other", "n/1=y", "n/2=x", "n/1=last", "-n/2"}, take(t, all, 5))
	put(t, s, "n/3", "z")
	require.Equal(t, []string{"n/3=z"}, take(t, next, 1))
}

func testWatchOrder(t *testing.T, s store.Store) {
	const workers, rounds = 8, 20
	events := s.Watch(t.Context(), "counter")
	var wg sync.WaitGroup
	errs := make(chan error, workers*rounds)
	for range workers {
		wg.Go(func() {
			for range rounds {
				errs <- s.Update(t.Context(), func(tx store.Tx) error {
					v, _ := tx.Get("counter")
					n, _ := strconv.Atoi(string(v))
					return tx.Put("counter", []byte(strconv.Itoa(n+1)))
				})
			}
		})
	}
	want := 1
	for ev, err := range events {
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(want), string(ev.Value))
		if want++; want > workers*rounds {
			break
		}
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

func testWatchLagged(t *testing.T, s store.Store) {
	next, stop := iter.Pull2(s.Watch(t.Context(), ""))
	defer stop()
	var pairs []string
	for i := range 20_000 {
		pairs = append(pairs, fmt.Sprintf("%05d", i), "v")
	}
	put(t, s, pairs...) // nobody reads the watch
	requireEnd(t, next, store.ErrWatchLagged)
	again, stop := iter.Pull2(s.Watch(t.Context(), ""))
	defer stop()
	put(t, s, "a", "1")
	require.Equal(t, []string{"a=1"}, take(t, again, 1))
}

func testWatchCancel(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancelCause(t.Context())
	next, stop := iter.Pull2(s.Watch(ctx, ""))
	defer stop()
	put(t, s, "a", "1")
	require.Equal(t, []string{"a=1"}, take(t, next, 1))
	cancel(errAbort)
	requireEnd(t, next, errAbort)
	next, stop = iter.Pull2(s.Watch(ctx, ""))
	defer stop()
	requireEnd(t, next, errAbort)
}

func testWatchClose(t *testing.T, s store.Store) {
	next, stop := iter.Pull2(s.Watch(t.Context(), ""))
	defer stop()
	put(t, s, "a", "1")
	require.NoError(t, s.Close())
	require.Equal(t, []string{"a=1"}, take(t, next, 1))
	requireEnd(t, next, store.ErrClosed)
	next, stop = iter.Pull2(s.Watch(t.Context(), ""))
	defer stop()
	requireEnd(t, next, store.ErrClosed)
}

func testClosed(t *testing.T, s store.Store) {
	put(t, s, "a", "1")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	nothing := func(store.Tx) error { panic("not reached") }
	require.ErrorIs(t, s.View(t.Context(), nothing), store.ErrClosed)
	require.ErrorIs(t, s.Update(t.Context(), nothing), store.ErrClosed)
}

func testCloseWaits(t *testing.T, s store.Store) {
	closed := make(chan error, 1)
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		go func() { closed <- s.Close() }()
		for s.View(t.Context(), func(store.Tx) error { return nil }) == nil {
			continue // until Close has begun
		}
		return tx.Put("a", nil)
	}))
	require.NoError(t, <-closed)
}
