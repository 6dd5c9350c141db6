package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/stretchr/testify/require"
)

func openPlain(t testing.TB, o Options) *db {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MasterKey.IsZero() {
		o.MasterKey = NewMasterKey()
	}
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s.(*db)
}

func TestSealedValueOpensOnlyUnderItsKeyAndMasterKey(t *testing.T) {
	k := NewMasterKey()
	s, err := newSealer(k)
	require.NoError(t, err)
	box := s.seal("rnode/a", []byte("psk"))
	got, err := s.open("rnode/a", box)
	require.NoError(t, err)
	require.Equal(t, "psk", string(got))
	require.NotEqual(t, box, s.seal("rnode/a", []byte("psk")), "a nonce must not repeat")

	_, err = s.open("rnode/b", box)
	require.ErrorIs(t, err, ErrCorrupt, "moved to another key")
	for i := range box {
		bad := append([]byte{}, box...)
		bad[i] ^= 1
		_, err = s.open("rnode/a", bad)
		require.ErrorIs(t, err, ErrCorrupt, "byte %d changed", i)
		_, err = s.open("rnode/a", box[:i])
		require.ErrorIs(t, err, ErrCorrupt, "cut to %d bytes", i)
	}
	other, err := newSealer(NewMasterKey())
	require.NoError(t, err)
	_, err = other.open("rnode/a", box)
	require.ErrorIs(t, err, ErrCorrupt)
	require.NotContains(t, err.Error(), "psk")
	_, err = newSealer(MasterKey{})
	require.ErrorIs(t, err, ErrSealed)
}

func TestDamagedRecordIsAnErrorNotAnAbsence(t *testing.T) {
	s := openPlain(t, Options{})
	require.NoError(t, s.Update(t.Context(), func(tx Tx) error {
		return errors.Join(tx.Put("a", []byte("1")), tx.Put("b", []byte("2")), tx.Put("c", []byte("3")))
	}))
	require.NoError(t, s.engine.Update(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte("ra"))
		if err != nil {
			return err
		}
		box, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		return txn.Set([]byte("rb"), box)
	}))
	require.NoError(t, s.View(t.Context(), func(tx Tx) error {
		_, err := tx.Get("b")
		require.ErrorIs(t, err, ErrCorrupt)
		require.EqualError(t, err, "the record is damaged: b does not open with the master key")
		var seen []string
		for rec, e := range tx.Scan("", "") {
			if err = e; e == nil {
				seen = append(seen, rec.Key)
			}
		}
		require.ErrorIs(t, err, ErrCorrupt)
		require.Equal(t, []string{"a"}, seen, "a scan must stop at the damage")
		return nil
	}))
}

func TestMasterKeyNeverPrints(t *testing.T) {
	k := NewMasterKey()
	holder := struct {
		Public  MasterKey
		private MasterKey
		pointer *MasterKey
	}{k, k, &k}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%p"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", k, &k, holder)
	}
	text, err := json.Marshal(holder)
	require.NoError(t, err)
	out.Write(text)
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", k, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", k, "holder", holder)
	fmt.Fprint(&out, Options{MasterKey: k}, k.String())
	b := k.bytes()
	for _, form := range []string{
		k.Reveal(), k.Reveal()[:12], fmt.Sprintf("%x", b[:4]), fmt.Sprintf("%X", b[:4]),
		fmt.Sprintf("%d %d %d", b[0], b[1], b[2]), fmt.Sprintf("%q", b[:4]),
	} {
		require.NotContains(t, out.String(), form)
	}
	require.Contains(t, string(text), "(secret)")
}
