package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/store"
)

// Every so many transactions of the writer are too large for one transaction of the engine.
const (
	bulkEvery = 25
	bulkSize  = 2500
)

// writerDir makes the test binary a program that writes records into that folder's store and prints the number of
// each when it is acknowledged.
const writerDir = "STORE_TEST_WRITER_DIR"

func writeUntilKilled(dir string) int {
	key, err := store.LoadOrCreateMasterKey(filepath.Join(dir, "master.key"))
	if err != nil {
		return fail(err)
	}
	s, err := store.Open(store.Options{Dir: filepath.Join(dir, "store"), MasterKey: key})
	if err != nil {
		return fail(err)
	}
	for i := 0; ; i++ {
		if err := s.Update(context.Background(), func(tx store.Tx) error {
			for _, half := range []string{"left/", "right/"} {
				if err := tx.Put(half+strconv.Itoa(i), []byte(strconv.Itoa(i))); err != nil {
					return err
				}
			}
			if i%bulkEvery != 0 {
				return nil
			}
			for j := range bulkSize {
				if err := tx.Put(fmt.Sprintf("bulk/%d/%d", i, j), bytes.Repeat([]byte("b"), 700)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fail(err)
		}
		fmt.Println(i)
	}
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func TestNoAcknowledgedWriteIsLostByKill(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		last := killWriter(t, dir, 60*(round+1))
		key, err := store.LoadOrCreateMasterKey(filepath.Join(dir, "master.key"))
		require.NoError(t, err)
		s, err := store.Open(store.Options{Dir: filepath.Join(dir, "store"), MasterKey: key})
		require.NoError(t, err)
		require.NoError(t, s.View(t.Context(), func(tx store.Tx) error {
			count := map[string]int{}
			for _, half := range []string{"left/", "right/"} {
				for i := range last + 1 {
					v, err := tx.Get(half + strconv.Itoa(i))
					require.NoError(t, err)
					require.Equal(t, strconv.Itoa(i), string(v))
				}
				for _, err := range tx.Scan(half, "") {
					require.NoError(t, err)
					count[half]++
				}
			}
			require.Equal(t, count["left/"], count["right/"], "a transaction must not be halved")
			for i := range count["left/"] {
				n := 0
				for _, err := range tx.Scan(fmt.Sprintf("bulk/%d/", i), "") {
					require.NoError(t, err)
					n++
				}
				if i%bulkEvery == 0 {
					require.Equal(t, bulkSize, n, "a large transaction must not be halved")
				}
			}
			return nil
		}))
		require.NoError(t, s.Close())
	}
}

// killWriter starts a writer, kills it with SIGKILL after so many answers, and returns the last that it gave.
func killWriter(t *testing.T, dir string, answers int) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	last := -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		last, err = strconv.Atoi(lines.Text())
		require.NoError(t, err)
		if answers--; answers == 0 {
			require.NoError(t, cmd.Process.Kill()) // it goes on writing until here: read its answers to the end
		}
	}
	require.Error(t, cmd.Wait())
	require.GreaterOrEqual(t, last, 0)
	return last
}
