package event

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

var began = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func newLog(t *testing.T, o Options) *Log {
	t.Helper()
	if o.Store == nil {
		db, err := store.OpenInMemory(store.NewMasterKey())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		o.Store = db
	}
	return New(o)
}

func messages(events []Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.Message
	}
	return out
}

// The clock stands still, and goes back over a restart: the order is that of the keeping all the same.
func TestOrderIsThatOfTheKeeping(t *testing.T) {
	now := began
	l := newLog(t, Options{Now: func() time.Time { return now }})
	for i := range 5 {
		require.NoError(t, l.Append(t.Context(), Event{Message: fmt.Sprint(i)}))
	}
	now = now.Add(-time.Hour)
	l = newLog(t, l.o)
	require.NoError(t, l.Append(t.Context(), Event{Message: "5"}, Event{Message: "6"}))
	all, next, err := l.List(t.Context(), Filter{}, Page{})
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []string{"6", "5", "4", "3", "2", "1", "0"}, messages(all))
	for i := 1; i < len(all); i++ {
		require.Greater(t, all[i-1].ID, all[i].ID)
	}
}

func TestListPagesAndFilters(t *testing.T) {
	l := newLog(t, Options{})
	for i := range 6 {
		e := Event{Message: fmt.Sprint(i), NodeID: []string{"a", "b"}[i%2], Kind: DriftChanged, Severity: Info, At: began.Add(time.Duration(i) * time.Minute)}
		if i > 3 {
			e.Kind, e.Severity = Reconciled, Critical
		}
		require.NoError(t, l.Append(t.Context(), e))
	}
	for name, c := range map[string]struct {
		filter Filter
		want   []string
	}{
		"all":      {Filter{}, []string{"5", "4", "3", "2", "1", "0"}},
		"node":     {Filter{NodeID: "a"}, []string{"4", "2", "0"}},
		"no node":  {Filter{NodeID: "c"}, []string{}},
		"kind":     {Filter{Kinds: []Kind{Reconciled}}, []string{"5", "4"}},
		"severity": {Filter{Severity: Warning}, []string{"5", "4"}},
		"two":      {Filter{Kinds: []Kind{Reconciled}, NodeID: "b"}, []string{"5"}},
		"since":    {Filter{Since: began.Add(3 * time.Minute)}, []string{"5", "4", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			var paged []string
			cursor := ""
			for {
				page, next, err := l.List(t.Context(), c.filter, Page{Limit: 2, Cursor: cursor})
				require.NoError(t, err)
				paged = append(paged, messages(page)...)
				if cursor = next; next == "" {
					break
				}
			}
			require.ElementsMatch(t, c.want, paged)
			all, _, err := l.List(t.Context(), c.filter, Page{})
			require.NoError(t, err)
			require.Equal(t, c.want, messages(all))
		})
	}
}

func TestChangesAreKeptAndSplit(t *testing.T) {
	l := newLog(t, Options{})
	e := Event{Message: "many", NodeID: "a", GroupID: "g", Actor: Actor{Kind: ActorKey, ID: "k", Name: "ann"}, PlanID: "p", Revision: 7, From: "x", To: "y"}
	for i := range 450 {
		e.Changes = append(e.Changes, Change{Op: "add", Peer: fmt.Sprint(i), After: map[string]any{"allowed_ips": []any{"10.0.0.1/32"}}, Outcome: Done})
	}
	require.NoError(t, l.Append(t.Context(), e))
	all, _, err := l.List(t.Context(), Filter{NodeID: "a"}, Page{})
	require.NoError(t, err)
	require.Equal(t, []string{"many (3 of 3)", "many (2 of 3)", "many (1 of 3)"}, messages(all))
	require.Len(t, all[0].Changes, 50)
	got := all[2]
	require.Equal(t, e.Changes[:maxChanges], got.Changes)
	require.Equal(t, e.Actor, got.Actor)
	require.Equal(t, []any{e.GroupID, e.PlanID, e.Revision, e.From, e.To}, []any{got.GroupID, got.PlanID, got.Revision, got.From, got.To})
}

// Many at once, one of whom brings what no record can hold: all others' are kept, each once.
func TestOneThatIsTooLargeHarmsNoOther(t *testing.T) {
	l := newLog(t, Options{})
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Append(t.Context(), Event{Message: fmt.Sprint(w, " ", i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range each {
			if err := l.Append(t.Context(), Event{Message: strings.Repeat("x", store.MaxValue)}); !errors.Is(err, store.ErrTooLarge) {
				t.Error("kept, or refused otherwise: ", err)
			}
		}
	})
	wg.Wait()
	all, _, err := l.List(t.Context(), Filter{}, Page{})
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, e := range all {
		seen[e.Message] = true
	}
	require.Len(t, all, writers*each)
	require.Len(t, seen, writers*each)
}

// The store fails for all: each caller learns it.
func TestAppendTellsThatNothingWasKept(t *testing.T) {
	l := newLog(t, Options{})
	require.NoError(t, l.o.Store.Close())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := l.Append(t.Context(), Event{Message: "lost"}); !errors.Is(err, store.ErrClosed) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestPruneByAgeAndCount(t *testing.T) {
	now := began
	l := newLog(t, Options{Now: func() time.Time { return now }, Keep: time.Hour, Max: 3})
	for i := range 5 {
		require.NoError(t, l.Append(t.Context(), Event{Message: fmt.Sprint(i), NodeID: "a"}))
	}
	n, err := l.Prune(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	all, _, err := l.List(t.Context(), Filter{NodeID: "a"}, Page{})
	require.NoError(t, err)
	require.Equal(t, []string{"4", "3", "2"}, messages(all))
	now = now.Add(time.Hour)
	n, err = l.Prune(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, n)
}

// Changes that no record can hold are left out: that something happened is kept.
func TestWhatIsTooLargeIsKeptWithoutItsChanges(t *testing.T) {
	l := newLog(t, Options{})
	huge := Change{Op: "foreign", Peer: "x", After: map[string]any{"allowed_ips": strings.Repeat("x", store.MaxValue)}}
	require.NoError(t, l.Append(t.Context(), Event{Message: "drift", Changes: []Change{huge}}))
	all, _, err := l.List(t.Context(), Filter{}, Page{})
	require.NoError(t, err)
	require.Equal(t, []string{"drift (its 1 changes are too large to keep)"}, messages(all))
	require.Empty(t, all[0].Changes)
}
