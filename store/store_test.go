package store_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/store"
	"github.com/wgfleet/wgfleet/store/backup/backuptest"
	"github.com/wgfleet/wgfleet/store/storetest"
)

func TestMain(m *testing.M) {
	backuptest.Cheap()
	if dir := os.Getenv(writerDir); dir != "" {
		os.Exit(writeUntilKilled(dir))
	}
	if dir := os.Getenv(restorerDir); dir != "" {
		os.Exit(restoreUntilKilled(dir))
	}
	goleak.VerifyTestMain(m)
}

func openDisk(t testing.TB, o store.Options) store.Store {
	t.Helper()
	s, err := store.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func openMemory(t testing.TB) store.Store {
	t.Helper()
	s, err := store.OpenInMemory(store.NewMasterKey())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestConformance(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) store.Store {
			return openDisk(t, store.Options{Dir: t.TempDir(), MasterKey: store.NewMasterKey()})
		})
	})
	t.Run("memory", func(t *testing.T) { storetest.Run(t, openMemory) })
}
