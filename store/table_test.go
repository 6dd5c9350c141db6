package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/store"
)

type peer struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
	Port   int    `json:"port"`
}

func ids[T any](t require.TestingT, table store.Table[T], tx store.Tx, after string) []string {
	list := []string{}
	for row, err := range table.All(tx, after) {
		require.NoError(t, err)
		list = append(list, row.ID)
	}
	return list
}

func TestTable(t *testing.T) {
	s := openMemory(t)
	nodes, peers := store.NewTable[peer]("node"), store.NewTable[peer]("peer")
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		_, err := nodes.Get(tx, "a")
		require.ErrorIs(t, err, store.ErrNotFound)
		require.NoError(t, nodes.Put(tx, "a", peer{Name: "one"}))
		require.NoError(t, nodes.Put(tx, "ab", peer{Name: "two"}))
		require.NoError(t, peers.In("a").Put(tx, "1", peer{Name: "a1", Port: 7}))
		require.NoError(t, peers.In("a").Put(tx, "2", peer{Name: "a2"}))
		require.NoError(t, peers.In("ab").Put(tx, "1", peer{Name: "ab1"}))
		return peers.In("ab").Delete(tx, "gone")
	}))
	require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
		v, err := peers.In("a").Get(tx, "1")
		require.NoError(t, err)
		require.Equal(t, peer{Name: "a1", Port: 7}, v)
		require.Equal(t, []string{"1", "2"}, ids(t, peers.In("a"), tx, ""))
		require.Equal(t, []string{"2"}, ids(t, peers.In("a"), tx, "1"))
		require.Equal(t, []string{"1"}, ids(t, peers.In("ab"), tx, ""))
		require.Equal(t, []string{"a/1", "a/2", "ab/1"}, ids(t, peers, tx, ""))
		require.Equal(t, []string{"ab/1"}, ids(t, peers, tx, "a/2"))
		require.Equal(t, []string{"a", "ab"}, ids(t, nodes, tx, ""))
		return nil
	}))
	require.Equal(t, "peer/a/", peers.In("a").Prefix())
	row, err := peers.In("a").Decode("peer/a/1", []byte(`{"name":"x","from_the_future":{"y":1}}`))
	require.NoError(t, err)
	require.Equal(t, store.Row[peer]{ID: "1", Value: peer{Name: "x"}}, row)
}

func TestTableRefusesIDsThatCouldMeetOthers(t *testing.T) {
	s := openMemory(t)
	table := store.NewTable[peer]("peer")
	for _, id := range []string{"", "a/b", "/", "a\x00", "a\n", "\x7f", "\xff", strings.Repeat("x", 201)} {
		require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
			_, err := table.Get(tx, id)
			require.ErrorIs(t, err, store.ErrKey, "%q", id)
			require.ErrorIs(t, table.Put(tx, id, peer{}), store.ErrKey)
			require.ErrorIs(t, table.Delete(tx, id), store.ErrKey)
			below := table.In(id).In("fine")
			require.ErrorIs(t, below.Put(tx, "1", peer{}), store.ErrKey)
			for _, err = range below.All(tx, "") {
			}
			require.ErrorIs(t, err, store.ErrKey)
			return nil
		}))
	}
	for _, name := range []string{"", "a/b", "unique"} {
		require.Panics(t, func() { store.NewTable[peer](name) })
	}
	require.Panics(t, func() { store.NewUnique("") })
}

func TestTableErrorsQuoteNoValue(t *testing.T) {
	s := openMemory(t)
	table := store.NewTable[peer]("peer")
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		for _, text := range []string{`{"port":"hush"}`, `hush`, `"hush"`, `{"name":"x"} hush`, ``} {
			require.NoError(t, tx.Put("peer/1", []byte(text)))
			_, err := table.Get(tx, "1")
			require.ErrorIs(t, err, store.ErrCorrupt, text)
			require.ErrorContains(t, err, "peer/1 is no store_test.peer")
			require.NotContains(t, err.Error(), "hush")
			for _, err = range table.All(tx, "") {
			}
			require.ErrorIs(t, err, store.ErrCorrupt)
		}
		err := store.NewTable[bad]("bad").Put(tx, "1", bad{})
		require.ErrorContains(t, err, "bad/1: a store_test.bad that has no JSON")
		require.NotContains(t, err.Error(), "hush")
		return nil
	}))
}

type bad struct{}

func (bad) MarshalText() ([]byte, error) { return nil, errors.New("hush") }

func TestTablesOfAnyNamesNeverMeet(t *testing.T) {
	s := openMemory(t)
	part := rapid.StringMatching(`[ab./ -]{1,3}`).Filter(func(s string) bool { return !strings.Contains(s, "/") })
	rapid.Check(t, func(rt *rapid.T) {
		a, b := part.Draw(rt, "one parent"), part.Draw(rt, "another")
		id := part.Draw(rt, "id")
		table := store.NewTable[peer]("peer")
		err := s.Update(t.Context(), func(tx store.Tx) error {
			require.NoError(rt, table.In(a).Put(tx, id, peer{Name: "mine"}))
			want := []string{}
			if a == b {
				want = []string{id}
			}
			require.Equal(rt, want, ids(rt, table.In(b), tx, ""))
			require.Equal(rt, []string{a + "/" + id}, ids(rt, table, tx, ""))
			return errUndo
		})
		require.ErrorIs(rt, err, errUndo)
	})
}

var errUndo = errors.New("undo")

func TestUnique(t *testing.T) {
	s := openMemory(t)
	keys := store.NewUnique("public_key")
	const value = "abc/def+ghi="
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error {
		_, err := keys.Owner(tx, value)
		require.ErrorIs(t, err, store.ErrNotFound)
		require.NoError(t, keys.Claim(tx, value, "p1"))
		require.NoError(t, keys.Claim(tx, value, "p1"))
		require.NoError(t, keys.In("n1").Claim(tx, value, "p9"), "another scope")
		require.NoError(t, store.NewUnique("other").Claim(tx, value, "p8"), "another index")

		err = keys.Claim(tx, value, "p2")
		require.ErrorIs(t, err, store.ErrTaken)
		taken, ok := errors.AsType[*store.TakenError](err)
		require.True(t, ok)
		require.Equal(t, "p1", taken.Owner)
		require.EqualError(t, err, "already taken by p1")

		require.NoError(t, keys.Release(tx, value, "p2"), "not the owner")
		owner, err := keys.Owner(tx, value)
		require.NoError(t, err)
		require.Equal(t, "p1", owner)
		require.NoError(t, keys.Release(tx, value, "p1"))
		require.NoError(t, keys.Release(tx, value, "p1"))
		require.NoError(t, keys.Claim(tx, value, "p2"))

		require.ErrorIs(t, keys.Claim(tx, "", "p"), store.ErrKey)
		require.ErrorIs(t, keys.Release(tx, strings.Repeat("x", 201), "p"), store.ErrKey)
		require.ErrorIs(t, keys.In("a/b").Claim(tx, value, "p"), store.ErrKey)
		return nil
	}))
}
