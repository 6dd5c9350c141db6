package docs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// server is a running `wgfleet serve` without privileges, on ports that were free.
type server struct {
	t    *testing.T
	env  []string
	args []string
	cmd  *exec.Cmd
	log  *serverLog

	agentURL, panelURL string
}

// serverLog collects the output of a server and finds the line that says it is ready.
type serverLog struct {
	ready chan [2]string
	done  chan struct{} // the output has ended

	mu   sync.Mutex // protects text
	text bytes.Buffer
}

func newServerLog() *serverLog {
	return &serverLog{ready: make(chan [2]string, 1), done: make(chan struct{})}
}

func (l *serverLog) follow(r io.Reader) {
	defer close(l.done)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg   string
			Agent string `json:"agent_url"`
			Panel string `json:"panel_url"`
		}
		_ = json.Unmarshal(lines.Bytes(), &line) // lines for people are no JSON
		l.mu.Lock()
		l.text.Write(lines.Bytes())
		l.text.WriteByte('\n')
		l.mu.Unlock()
		if line.Msg == "wgfleet is ready" {
			l.ready <- [2]string{line.Agent, line.Panel}
		}
	}
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// readyWithin is how long a server may take until it answers.
const readyWithin = 30 * time.Second

// start runs the server and waits until it answers.
func (s *server) start() {
	s.t.Helper()
	s.log = newServerLog()
	s.cmd = exec.Command(filepath.Join(binaries, "wgfleet"), s.args...)
	s.cmd.Env = s.env
	out, err := s.cmd.StdoutPipe()
	require.NoError(s.t, err)
	s.cmd.Stderr = s.cmd.Stdout
	require.NoError(s.t, s.cmd.Start())
	go s.log.follow(out)
	select {
	case urls := <-s.log.ready:
		s.agentURL, s.panelURL = urls[0], urls[1]
	case <-s.log.done:
		s.t.Fatalf("wgfleet ended before it was ready:\n%s", s.log)
	case <-time.After(readyWithin):
		s.t.Fatalf("wgfleet is not ready:\n%s", s.log)
	}
}

// stop ends it as systemd does. A server that is not running stays so.
func (s *server) stop() {
	if s.cmd == nil || s.cmd.ProcessState != nil {
		return
	}
	s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-s.log.done:
	case <-time.After(readyWithin):
		s.cmd.Process.Kill()
		<-s.log.done
	}
	s.cmd.Wait() // its status is no matter
}

// environment is what every process of a document has: no root's folders and no fixed port.
func environment(home string) []string {
	return []string{
		"PATH=" + binaries + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8", "NO_COLOR=1",
		"WGFLEET_DATA_DIR=" + filepath.Join(home, "data"), "WGFLEET_CONF_DIR=" + filepath.Join(home, "wireguard"),
		"WGFLEET_BACKEND=netstack", "WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0", "WGFLEET_PANEL_PORT=0", "WGFLEET_NOTIFY_ALLOW=127.0.0.1",
	}
}

// seedPort is a folder to begin with whose wg0 has a free port of its own. Else every panel takes the first free one from
// 51820, and those of other tests lose theirs when they restart.
func seedPort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", ":0")
	require.NoError(t, err)
	defer c.Close()
	dir := t.TempDir()
	text := fmt.Sprintf("[Interface]\nAddress = 10.8.0.1/24\nListenPort = %d\n", c.LocalAddr().(*net.UDPAddr).Port)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wg0.conf"), []byte(text), 0o600))
	return dir
}

// newServer prepares a server with a home of its own.
func newServer(t *testing.T, home string, panel bool, env ...string) *server {
	t.Helper()
	require.NoError(t, os.MkdirAll(home, 0o700))
	s := &server{t: t, env: append(environment(home), env...), args: []string{"serve"}}
	if panel {
		s.args = append(s.args, "--panel")
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", filepath.Base(home), tail(s.log))
		}
	})
	return s
}

func tail(l *serverLog) string {
	if l == nil {
		return "(never started)"
	}
	text := l.String()
	return text[max(0, len(text)-4000):]
}
