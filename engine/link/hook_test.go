package link_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/link"
)

func run(t *testing.T, command string) (said string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = link.RunHook(t.Context(), command, "wg0", slog.New(slog.NewTextHandler(&out, nil)))
	return out.String(), err
}

func TestHookRunsAndSpeaks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	said, err := run(t, "echo one of wg0; printf 'two\n\nthree' >&2; echo done > "+file)
	require.NoError(t, err)
	require.Contains(t, said, `said="one of wg0"`)
	require.Contains(t, said, "said=two")
	require.Contains(t, said, "said=three", "a last line without an end counts")
	require.Equal(t, 3, strings.Count(said, "said="))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "done\n", string(b))
}

func TestHookFails(t *testing.T) {
	_, err := run(t, "echo first; echo no such bridge >&2; exit 7")
	require.ErrorContains(t, err, "exit status 7: no such bridge")
	require.ErrorContains(t, err, "wg0")
	_, err = run(t, "exit 3")
	require.ErrorContains(t, err, "exit status 3")
}

// wg show wg0 private-key is a hook that people have.
func TestHookKeepsKeysOutOfLogAndError(t *testing.T) {
	key := enginetest.PrivateKey(t).Reveal().String()
	said, err := run(t, "echo first "+key+" last; printf %s "+key+" >&2; exit 1")
	require.Error(t, err)
	require.NotContains(t, said, key)
	require.NotContains(t, err.Error(), key)
	require.Contains(t, said, `said="first (hidden) last"`)
}

func TestHookSeesNoSecretsOfTheProcess(t *testing.T) {
	t.Setenv("WG_AGENT_SECRET", "hunter2")
	said, err := run(t, "env; echo $WG_AGENT_SECRET")
	require.NoError(t, err)
	require.NotContains(t, said, "hunter2")
	require.Contains(t, said, "PATH=")
}

// A hook that does not end is killed with what it started: its child's end of the pipe closes.
func TestHookIsKilledWithItsChildren(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- link.RunHook(ctx, "sleep 1000 >"+pipe+" & wait", "wg0", slog.New(slog.DiscardHandler))
	}()
	r, err := os.Open(pipe) // once the child has opened it
	require.NoError(t, err)
	defer r.Close()
	cancel()
	_, err = io.ReadAll(r)
	require.NoError(t, err)
	err = <-ended
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "wg0")
}

func TestHookMayLeaveADaemon(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	_, err := run(t, "sleep 1000 & echo $! > "+file)
	require.NoError(t, err)
	_, err = run(t, "kill $(cat "+file+")")
	require.NoError(t, err)
}

func TestHookCutsALongLine(t *testing.T) {
	said, err := run(t, "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
	require.NoError(t, err)
	require.Less(t, len(said), 10000)
	require.Contains(t, said, "said=end")
}
