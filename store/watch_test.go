package store

import (
	"iter"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommitsAreToldInOrderAndOnlyIfDurable(t *testing.T) {
	h := newHub(2)
	next, stop := iter.Pull2(h.watch(t.Context(), ""))
	defer stop()
	one := h.announce([]*write{{key: "r1"}})
	two := h.announce([]*write{{key: "r2"}})
	three := h.announce([]*write{{key: "r3"}, {key: "m3"}})
	h.settle(three, true)
	h.settle(two, false)
	require.Len(t, h.queue, 3, "all wait for the first")
	h.settle(one, true)
	require.Empty(t, h.queue)
	for _, want := range []string{"1", "3"} {
		ev, err, ok := next()
		require.True(t, ok)
		require.NoError(t, err)
		require.Equal(t, want, ev.Key)
	}
	h.settle(h.announce([]*write{{key: "r4"}, {key: "r5"}}), true)
	require.Len(t, h.watchers, 1, "as many as the buffer takes")
	h.settle(h.announce([]*write{{key: "r6"}}), true)
	require.Empty(t, h.watchers, "one that lags is forgotten")
	_, err, _ := next()
	require.ErrorIs(t, err, ErrWatchLagged)
}
