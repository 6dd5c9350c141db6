package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nobody is a user without privileges; see shadow's and Debian's base-passwd.
const nobody = 65534

// unprivileged makes a command of this program that has no privileges, in an empty folder of its
// own, whoever runs the tests.
func unprivileged(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := exec.LookPath("wgfleet") // this binary, put on PATH by testscript.Main
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "wgfleet-test-") //nolint:usetesting // t.TempDir is root's alone
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	binary, err := os.ReadFile(self)
	require.NoError(t, err)
	program := filepath.Join(dir, "wgfleet")
	require.NoError(t, os.WriteFile(program, binary, 0o755))
	home := filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chmod(dir, 0o755))
	cmd := exec.Command(program, args...)
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(home, nobody, nobody))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// `wgfleet serve --panel` by a user without privileges, in an empty folder, without settings (but
// for ports that are free) is a working node and panel, and says what to do next. A signal ends it.
func TestServeWithoutPrivileges(t *testing.T) {
	serve := unprivileged(t, "serve", "--panel", "--agent-port", "0", "--panel-port", "0")
	printed, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer printed.Close()
	serve.Stdout = printed
	log, err := serve.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, serve.Start())
	ended := make(chan error, 1)
	t.Cleanup(func() { serve.Process.Kill() })

	var url string
	lines := bufio.NewScanner(log)
	for url == "" && lines.Scan() {
		var line struct {
			Msg      string
			PanelURL string `json:"panel_url"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line), lines.Text())
		url = line.PanelURL
	}
	require.NotEmpty(t, url, "it never was ready")
	go func() {
		for lines.Scan() {
		}
		ended <- serve.Wait()
	}()

	// The same user needs no key: it is in the data folder.
	client := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, serve.Path, args...)
		cmd.Dir, cmd.SysProcAttr = serve.Dir, serve.SysProcAttr
		cmd.Env = append(serve.Env, "WGFLEET_URL="+url)
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, string(text))
		return string(text)
	}
	require.Contains(t, client("peer", "add", "auto", "laptop"), "10.8.0.2/32")
	require.Contains(t, client("drift"), "in sync")
	state := filepath.Join(serve.Dir, ".local", "state", "wgfleet")
	require.DirExists(t, state)
	require.FileExists(t, filepath.Join(state, "wireguard", "wg0.conf"))

	require.NoError(t, serve.Process.Signal(syscall.SIGTERM))
	require.NoError(t, <-ended, "a signal is no failure")
	out, err := os.ReadFile(printed.Name())
	require.NoError(t, err)
	require.Contains(t, string(out), "wgfleet peer add ")
	require.Contains(t, string(out), "Administrator's key, shown this once: ")
}
