package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

func benchStore(b *testing.B) store.Store {
	b.Helper()
	s := openDisk(b, store.Options{Dir: b.TempDir(), MasterKey: store.NewMasterKey()})
	record := []byte(strings.Repeat("r", 700))
	require.NoError(b, s.Update(b.Context(), func(tx store.Tx) error {
		for i := range 10_000 {
			if err := tx.Put(fmt.Sprintf("peer/n1/%08d", i), record); err != nil {
				return err
			}
		}
		return nil
	}))
	b.ReportAllocs()
	return s
}

// BenchmarkPutDurable writes one record of 700 B in a transaction of its own, on disk when it returns.
func BenchmarkPutDurable(b *testing.B) {
	s, record := benchStore(b), []byte(strings.Repeat("r", 700))
	for b.Loop() {
		if err := s.Update(b.Context(), func(tx store.Tx) error { return tx.Put("peer/n1/00005000", record) }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if err := s.View(b.Context(), func(tx store.Tx) error {
			_, err := tx.Get("peer/n1/00005000")
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan10000(b *testing.B) {
	s := benchStore(b)
	for b.Loop() {
		if err := s.View(b.Context(), func(tx store.Tx) error {
			for _, err := range tx.Scan("peer/n1/", "") {
				if err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkImport10000 writes 10,000 records of 700 B in one transaction.
func BenchmarkImport10000(b *testing.B) {
	s, record := benchStore(b), []byte(strings.Repeat("r", 700))
	for b.Loop() {
		if err := s.Update(b.Context(), func(tx store.Tx) error {
			for i := range 10_000 {
				if err := tx.Put(fmt.Sprintf("peer/n1/%08d", i), record); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}
