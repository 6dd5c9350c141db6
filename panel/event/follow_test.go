package event

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var errEnough = errors.New("enough")

// follow collects so many events, and checks how the sequence ends.
func follow(t *testing.T, l *Log, f Filter, after string, n int) []string {
	t.Helper()
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	got := []string{}
	if n == 0 {
		stop(errEnough)
	}
	for e, err := range l.Follow(ctx, f, after) {
		if err != nil {
			require.ErrorIs(t, err, errEnough)
			return got
		}
		if got = append(got, e.Message); len(got) == n {
			stop(errEnough)
		}
	}
	t.Fatal("it ended without a reason")
	return nil
}

func TestFollowBeginsWhereItIsTold(t *testing.T) {
	l := newLog(t, Options{})
	for i := range 250 { // more than are read at once
		require.NoError(t, l.Append(t.Context(), Event{Message: fmt.Sprint(i), NodeID: fmt.Sprint(i % 2)}))
	}
	all, _, err := l.List(t.Context(), Filter{}, Page{})
	require.NoError(t, err)
	got := follow(t, l, Filter{}, "", 250)
	require.Equal(t, "0", got[0])
	require.Equal(t, "249", got[249])
	require.Len(t, got, 250)
	require.Equal(t, []string{"248", "249"}, follow(t, l, Filter{}, all[2].ID, 2))
	require.Equal(t, []string{"247", "249"}, follow(t, l, Filter{NodeID: "1"}, all[3].ID, 2))
	last, err := l.Last(t.Context())
	require.NoError(t, err)
	require.Equal(t, all[0].ID, last)
	require.Empty(t, follow(t, l, Filter{}, last, 0))
}

// Many write while others follow, some of them slowly: each follower gets every event once and in the order
// of the log.
func TestFollowersMissNothing(t *testing.T) {
	l := newLog(t, Options{})
	const writers, each, followers = 4, 50, 3
	var wg sync.WaitGroup
	seen := make([][]string, followers)
	for i := range followers {
		wg.Go(func() { seen[i] = follow(t, l, Filter{}, "", writers*each) })
	}
	for w := range writers {
		wg.Go(func() {
			for i := range each / 2 {
				if err := l.Append(t.Context(), Event{Message: fmt.Sprint(w, " ", i)}, Event{Message: fmt.Sprint(w, " ", i, " too")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, _, err := l.List(t.Context(), Filter{}, Page{})
	require.NoError(t, err)
	want := make([]string, 0, len(all))
	for i := range all {
		want = append(want, all[len(all)-1-i].Message)
	}
	for i := range followers {
		require.Equal(t, want, seen[i])
	}
}

func TestFollowEndsWithTheStore(t *testing.T) {
	l := newLog(t, Options{})
	require.NoError(t, l.o.Store.Close())
	for _, err := range l.Follow(t.Context(), Filter{}, "") {
		require.Error(t, err)
	}
}
