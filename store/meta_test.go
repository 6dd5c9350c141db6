package store

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store/backup"
)

func TestMigrationsRunOnceInOrder(t *testing.T) {
	dir, key := t.TempDir(), NewMasterKey()
	var ran []int
	step := func(v int) Migration {
		return Migration{Version: v, Name: "step", Apply: func(tx Tx) error {
			ran = append(ran, v)
			old, err := tx.Get("trace")
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			return tx.Put("trace", append(old, byte('0'+v)))
		}}
	}
	trace := func(list ...Migration) string {
		t.Helper()
		s := openPlain(t, Options{Dir: dir, MasterKey: key, Migrations: list})
		var got []byte
		require.NoError(t, s.View(t.Context(), func(tx Tx) (err error) {
			if got, err = tx.Get("trace"); errors.Is(err, ErrNotFound) {
				return nil
			}
			return err
		}))
		require.NoError(t, s.Close())
		return string(got)
	}
	require.Empty(t, trace())
	require.Equal(t, "2", trace(Baseline, step(2)))
	require.Equal(t, "2", trace(Baseline, step(2)))

	broken := step(4)
	broken.Apply = func(tx Tx) error { return errors.Join(tx.Put("trace", []byte("half")), errors.ErrUnsupported) }
	_, err := Open(Options{Dir: dir, MasterKey: key, Migrations: []Migration{Baseline, step(2), step(3), broken}})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, "migrate the store in "+dir+" to schema 4 (step)")
	require.Equal(t, "234", trace(Baseline, step(2), step(3), step(4)), "the steps before the failed one stay")
	require.Equal(t, []int{2, 3, 4}, ran)

	_, err = Open(Options{Dir: dir, MasterKey: key})
	require.ErrorIs(t, err, ErrNewer)
	require.EqualError(t, err, "the store was written by a newer wgfleet: "+dir+" has schema 4, this program knows 1: run the newer one")
	_, err = Open(Options{Dir: dir, MasterKey: key, Migrations: []Migration{Baseline, step(3)}})
	require.ErrorContains(t, err, "out of order")
}

func TestSchemaRecordWithoutVersionIsDamage(t *testing.T) {
	s := openPlain(t, Options{})
	for _, text := range []string{"", "{}", `{"version":-1}`, "null"} {
		require.NoError(t, s.update(t.Context(), func(t *tx) error { return t.put(schemaKey, []byte(text)) }))
		require.ErrorIs(t, s.upgrade(Options{}), ErrCorrupt, text)
	}
}

func TestRecordsOfTheStoreAreHidden(t *testing.T) {
	s := openPlain(t, Options{})
	require.NoError(t, s.View(t.Context(), func(tx Tx) error {
		for rec, err := range tx.Scan("", "") {
			require.NoError(t, err)
			require.Fail(t, "a new store must look empty", rec.Key)
		}
		return nil
	}))
}

func TestReadBackTellsOtherRecords(t *testing.T) {
	s := openPlain(t, Options{})
	fill(t, s, "a", "1")
	fill(t, s, "b", "2")
	d := backup.NewDigest()
	d.Add("a", []byte("1"))
	d.Add("b", []byte("2"))
	want := backup.Summary{Records: 2, SHA256: d.Sum()}
	require.NoError(t, s.readBack(t.Context(), want))
	fill(t, s, "b", "3")
	require.ErrorIs(t, s.readBack(t.Context(), want), ErrCorrupt, "another value")
	fill(t, s, "b", "2")
	fill(t, s, "c", "")
	require.ErrorContains(t, s.readBack(t.Context(), want), "of the 2 restored records 3 were read back")
}
