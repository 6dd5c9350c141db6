package storetest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/store"
)

// testModel runs random transactions, some of which abort, against the store and a map.
func testModel(t *testing.T, s store.Store) {
	key := rapid.StringMatching(`[ab/]{1,3}`)
	part := rapid.StringMatching(`[ab/]{0,3}`)
	rapid.Check(t, func(rt *rapid.T) {
		require.NoError(rt, s.Update(t.Context(), clearAll))
		model := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(rt, "transactions") {
			draft := maps.Clone(model)
			abort := rapid.Bool().Draw(rt, "abort")
			err := s.Update(t.Context(), func(tx store.Tx) error {
				for range rapid.IntRange(1, 12).Draw(rt, "steps") {
					step(rt, tx, draft, key, part)
				}
				if abort {
					return errAbort
				}
				return nil
			})
			if abort {
				require.ErrorIs(rt, err, errAbort)
			} else {
				require.NoError(rt, err)
				model = draft
			}
			require.NoError(rt, s.View(t.Context(), func(tx store.Tx) error {
				got, err := dump(tx, "", "")
				require.NoError(rt, err)
				require.Equal(rt, expected(model, "", ""), got)
				return nil
			}))
		}
	})
}

func step(rt *rapid.T, tx store.Tx, draft map[string]string, key, part *rapid.Generator[string]) {
	switch rapid.SampledFrom([]string{"put", "delete", "get", "scan"}).Draw(rt, "step") {
	case "put":
		k, v := key.Draw(rt, "key"), rapid.StringN(0, 4, -1).Draw(rt, "value")
		require.NoError(rt, tx.Put(k, []byte(v)))
		draft[k] = v
	case "delete":
		k := key.Draw(rt, "key")
		require.NoError(rt, tx.Delete(k))
		delete(draft, k)
	case "get":
		k := key.Draw(rt, "key")
		got, err := tx.Get(k)
		if want, ok := draft[k]; ok {
			require.NoError(rt, err)
			require.Equal(rt, want, string(got))
		} else {
			require.ErrorIs(rt, err, store.ErrNotFound)
		}
	case "scan":
		prefix, after := part.Draw(rt, "prefix"), part.Draw(rt, "after")
		got, err := dump(tx, prefix, after)
		require.NoError(rt, err)
		require.Equal(rt, expected(draft, prefix, after), got)
	}
}

func expected(model map[string]string, prefix, after string) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, prefix) && k > after {
			words = append(words, k+"="+model[k])
		}
	}
	return strings.Join(words, " ")
}

func clearAll(tx store.Tx) error {
	for rec, err := range tx.Scan("", "") {
		if err != nil {
			return err
		}
		if err := tx.Delete(rec.Key); err != nil {
			return err
		}
	}
	return nil
}
