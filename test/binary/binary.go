// Package binary builds the program once and runs it as a process, for the tests that look at it from outside.
//
// It owns the built file (Main), a process from its start until it says that it is ready and until its end (Start), what it
// writes (Log), and a port for its WireGuard that others do not take (SeedPort). It knows nothing of what the process says
// beyond the line that it is ready, and imports nothing of the product: a mistake there must not be made here as well.
//
// What fails ends the test. A Process belongs to its test, which ends it at the latest; its Log may be read by anybody.
package binary

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var path string

// Path is the program, once Main runs the tests.
func Path() string { return path }

// Main builds the program, runs the tests and returns their exit status: TestMain exits with it.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "wgfleet-binary-")
	if err != nil {
		panic(err)
	}
	path = filepath.Join(dir, "wgfleet")
	build := exec.Command("go", "build", "-o", path, "github.com/wgfleet/wgfleet/cmd/wgfleet")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	code := m.Run()
	os.RemoveAll(dir) // a temporary folder
	return code
}

// WatchSources looks at every source of the program, which is two folders above that of the tests. They import none of
// them, so that go test would answer from its cache after one changed; it notes what a test looks at, not TestMain.
var WatchSources = sync.OnceFunc(func() {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		panic(err)
	}
})

// Options of Start.
type Options struct {
	Dir    string // to run in; "" for that of the test
	Env    []string
	Args   []string
	Within time.Duration // until it is ready, and until it has ended when it is told to
}

// Process is the program, which is ready.
type Process struct {
	Cmd                *exec.Cmd
	Log                *Log
	AgentURL, PanelURL string

	within time.Duration
}

// Start runs the program and waits until it is ready.
func Start(t testing.TB, o Options) *Process {
	t.Helper()
	p := &Process{Cmd: exec.Command(path, o.Args...), Log: newLog(), within: o.Within}
	p.Cmd.Dir, p.Cmd.Env = o.Dir, o.Env
	out, err := p.Cmd.StdoutPipe()
	require.NoError(t, err)
	p.Cmd.Stderr = p.Cmd.Stdout
	require.NoError(t, p.Cmd.Start())
	t.Cleanup(p.Kill)
	go p.Log.follow(out)
	select {
	case urls := <-p.Log.ready:
		p.AgentURL, p.PanelURL = urls[0], urls[1]
	case <-p.Log.ended:
		t.Fatalf("wgfleet ended before it was ready:\n%s", p.Log)
	case <-time.After(o.Within):
		t.Fatalf("wgfleet is not ready:\n%s", p.Log)
	}
	return p
}

// Stop ends it as systemd does and returns its exit status. A second call returns that again.
func (p *Process) Stop() int {
	if p.Cmd.ProcessState == nil {
		p.Cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-p.Log.ended:
			p.Cmd.Wait() // the state says it
		case <-time.After(p.within):
			p.Kill()
		}
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Kill ends it as a power cut does.
func (p *Process) Kill() {
	if p.Cmd.ProcessState == nil {
		p.Cmd.Process.Kill() // it may have ended
		p.Cmd.Wait()         // killed
	}
}

// SeedPort is a folder to begin with whose wg0 has a port that hardly anybody else takes while the process is away: the
// first free one from 51820 is what every other panel begins with.
func SeedPort(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp", ":0")
	require.NoError(t, err)
	defer c.Close()
	dir := t.TempDir()
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	require.NoError(t, err)
	text := "[Interface]\nAddress = 10.8.0.1/24\nListenPort = " + port + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wg0.conf"), []byte(text), 0o600))
	return dir
}
