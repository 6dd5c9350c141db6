package store_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

func TestMasterKeyFileIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "master.key")
	keys := make([]store.MasterKey, 8)
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() { keys[i], errs[i] = store.LoadOrCreateMasterKey(path) })
	}
	wg.Wait()
	for i := range keys {
		require.NoError(t, errs[i])
		require.True(t, keys[0].Equal(keys[i]), "all must get the key of the first")
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	info, err = os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 1, "no temporary file may stay")

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, keys[0].Reveal()+"\n", string(text))
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.Len(t, raw, 32)
	require.False(t, keys[0].Equal(store.NewMasterKey()))
	require.False(t, keys[0].Equal(store.MasterKey{}))
}

func TestUnusableMasterKeyFileIsRefusedAndKept(t *testing.T) {
	good := store.NewMasterKey().Reveal()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"group may read":  {good, 0o640, "is open to others (mode 0640): chmod 600 "},
		"others may read": {good, 0o604, "is open to others (mode 0604): chmod 600 "},
		"empty":           {"", 0o600, "is damaged: a master key is 32 bytes in base64"},
		"short":           {good[:40], 0o600, "is damaged: a master key is 32 bytes in base64"},
		"long":            {good + good, 0o600, "is damaged: a master key is 32 bytes in base64"},
		"not base64":      {strings.Repeat("!", 44), 0o600, "is damaged: a master key is 32 bytes in base64"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "master.key")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			require.NoError(t, os.Chmod(path, c.mode))
			k, err := store.LoadOrCreateMasterKey(path)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
			require.NotContains(t, err.Error(), good[:20])
			require.True(t, k.IsZero())
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, c.text, string(text))
		})
	}
	_, err := store.LoadOrCreateMasterKey(t.TempDir())
	require.Error(t, err, "a folder is no key")
}
