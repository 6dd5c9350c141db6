package docs

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

// server is a running `wgfleet serve` without privileges, on ports that were free.
type server struct {
	t    *testing.T
	env  []string
	args []string

	*binary.Process // nil before start
}

// readyWithin is how long a server may take until it answers.
const readyWithin = 30 * time.Second

// start runs the server and waits until it answers.
func (s *server) start() {
	s.t.Helper()
	s.Process = binary.Start(s.t, binary.Options{Env: s.env, Args: s.args, Within: readyWithin})
}

// stop ends it as systemd does. A server that is not running stays so.
func (s *server) stop() {
	if s.Process != nil {
		s.Stop()
	}
}

// environment is what every process of a document has: no root's folders and no fixed port.
func environment(home string) []string {
	return []string{
		"PATH=" + filepath.Dir(binary.Path()) + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8", "NO_COLOR=1",
		"WGFLEET_DATA_DIR=" + filepath.Join(home, "data"), "WGFLEET_CONF_DIR=" + filepath.Join(home, "wireguard"),
		"WGFLEET_BACKEND=netstack", "WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0", "WGFLEET_PANEL_PORT=0", "WGFLEET_NOTIFY_ALLOW=127.0.0.1",
	}
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
			t.Logf("log of %s:\n%s", filepath.Base(home), tail(s))
		}
	})
	return s
}

func tail(s *server) string {
	if s.Process == nil {
		return "(never started)"
	}
	text := s.Log.String()
	return text[max(0, len(text)-4000):]
}
