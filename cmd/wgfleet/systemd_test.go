package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// activated is `wgfleet serve` as a unit of Type=notify with sockets of its own starts it.
type activated struct {
	cmd  *exec.Cmd
	said *net.UnixConn // what it tells systemd
	log  *bufio.Scanner
}

// activate starts it with these sockets; systemd itself is the one that knows the new process's number
// before it runs, so a shell says it here.
func activate(t *testing.T, like *exec.Cmd, names string, sockets ...*os.File) *activated {
	t.Helper()
	path := filepath.Join(filepath.Dir(like.Dir), "notify")
	_ = os.Remove(path)
	said, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { said.Close() })
	require.NoError(t, os.Chmod(path, 0o666))
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, like.Path}, like.Args[1:]...)...)
	cmd.Dir, cmd.SysProcAttr, cmd.ExtraFiles = like.Dir, like.SysProcAttr, sockets
	cmd.Env = append(like.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000", "LISTEN_FDS="+string(rune('0'+len(sockets))), "LISTEN_FDNAMES="+names)
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &activated{cmd: cmd, said: said, log: bufio.NewScanner(log)}
}

// expect waits for a word to systemd, and passes over others.
func (a *activated) expect(t *testing.T, want string) {
	t.Helper()
	require.NoError(t, a.said.SetReadDeadline(time.Now().Add(time.Minute)))
	for b := make([]byte, 4096); ; {
		n, err := a.said.Read(b)
		require.NoError(t, err, "it never said %s", want)
		if string(b[:n]) == want {
			return
		}
	}
}

// stop ends it as systemctl does, and returns its log.
func (a *activated) stop(t *testing.T) string {
	t.Helper()
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGTERM))
	var log strings.Builder
	for a.log.Scan() {
		log.WriteString(a.log.Text() + "\n")
	}
	require.NoError(t, a.cmd.Wait(), log.String())
	return log.String()
}

func listenFile(t *testing.T) (url string, f *os.File) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	f, err = l.(*net.TCPListener).File()
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return "http://" + l.Addr().String(), f
}

// A restart under systemd refuses nobody: its sockets are there all the time, and who calls meanwhile waits.
func TestNoCallerIsRefusedWhileItRestarts(t *testing.T) {
	like := unprivileged(t, "serve", "--panel", "--agent-port=0", "--panel-port=0")
	agentURL, agentFile := listenFile(t)
	panelURL, panelFile := listenFile(t)
	get := func(url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		require.NoError(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	for range 2 {
		first := make(chan error, 2)
		go func() { first <- get(agentURL + "/health") }()
		go func() { first <- get(panelURL + "/api/health") }()
		a := activate(t, like, "agent:panel", agentFile, panelFile)
		require.NoError(t, <-first)
		require.NoError(t, <-first)
		a.expect(t, "READY=1")
		for range 3 {
			a.expect(t, "WATCHDOG=1")
		}
		log := a.stop(t)
		a.expect(t, "STOPPING=1")
		require.Contains(t, log, `"systemd listens for this role","role":"agent","address":"`+strings.TrimPrefix(agentURL, "http://"))
	}
}

func TestSocketsThatAreNotOurs(t *testing.T) {
	_, tcp := listenFile(t)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	near, far := os.NewFile(uintptr(pair[0]), "near"), os.NewFile(uintptr(pair[1]), "far")
	defer near.Close()
	defer far.Close()
	for name, c := range map[string]struct {
		names   string
		sockets []*os.File
		want    string
	}{
		"another name":  {"http", []*os.File{tcp}, `systemd hands over a socket of the name "http": set FileDescriptorName=agent or panel in its unit`},
		"no name":       {"", []*os.File{tcp}, `set FileDescriptorName=agent or panel in its unit`},
		"no TCP":        {"agent", []*os.File{near}, "the socket agent of systemd"},
		"another port":  {"agent", []*os.File{tcp}, "for the agent, and the settings say 0.0.0.0:8080: make WG_AGENT_HOST and WG_AGENT_PORT agree with the socket's unit"},
		"two of a role": {"agent:agent", []*os.File{tcp, tcp}, "take the socket agent of systemd: expected one ListenStream= with a TCP port"},
	} {
		t.Run(name, func(t *testing.T) {
			a := activate(t, unprivileged(t, "serve", "--panel"), c.names, c.sockets...)
			var text bytes.Buffer
			for a.log.Scan() {
				text.WriteString(a.log.Text() + "\n")
			}
			require.Error(t, a.cmd.Wait())
			require.Contains(t, text.String(), c.want)
		})
	}
	a := activate(t, unprivileged(t, "serve", "--panel", "--agent-port=0", "--panel-port=0", "--no-agent"), "agent", tcp)
	a.expect(t, "READY=1")
	log := a.stop(t)
	require.Contains(t, log, "systemd listens for a role that does not run here")
	for line := range strings.Lines(log) {
		require.True(t, json.Valid([]byte(line)), line)
	}
}
