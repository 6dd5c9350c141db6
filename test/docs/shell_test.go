package docs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loop reads commands from descriptor 3, each ended by a zero byte, and says after each that it is done.
// The commands have a standard input of their own, so that none of them reads the next.
const loop = `while IFS= read -r -d '' __command <&3; do eval "$__command"; printf '\n%s\n' "$__done"; done`

// stepTimeout is how long one command may take.
const stepTimeout = 20 * time.Second

// shell is one bash that runs the commands of a document.
type shell struct {
	t      *testing.T
	marker string
	in     *os.File
	cmd    *exec.Cmd
	out    *transcript
}

// transcript is what the shell printed and nobody has taken yet.
type transcript struct {
	mu    sync.Mutex // protects what follows
	text  []byte
	ended bool
	news  chan struct{}
}

func (o *transcript) follow(r io.Reader) {
	b := make([]byte, 64<<10)
	for {
		n, err := r.Read(b)
		o.mu.Lock()
		o.text = append(o.text, b[:n]...)
		o.ended = err != nil
		o.mu.Unlock()
		select {
		case o.news <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

var (
	errEnded = errors.New("the shell ended: a command failed")
	errSlow  = fmt.Errorf("no end within %s", stepTimeout)
)

// until takes what was printed before the marker.
func (o *transcript) until(ctx context.Context, marker string) (string, error) {
	for {
		o.mu.Lock()
		before, after, found := bytes.Cut(o.text, []byte(marker))
		ended := o.ended
		if found {
			o.text = bytes.Clone(after)
		}
		o.mu.Unlock()
		switch {
		case found:
			return string(before), nil
		case ended:
			return string(before), errEnded
		}
		select {
		case <-o.news:
		case <-ctx.Done():
			return string(before), errSlow
		}
	}
}

// newShell starts a bash in a folder; it and all that it started end with the test.
func newShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	commands, in, err := os.Pipe()
	require.NoError(t, err)
	out, stdout, err := os.Pipe()
	require.NoError(t, err)
	s := &shell{t: t, in: in, marker: "done-" + rand.Text(), out: &transcript{news: make(chan struct{}, 1)}}
	s.cmd = exec.Command("bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", loop)
	s.cmd.Dir, s.cmd.Env = dir, append(env, "__done="+s.marker)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.ExtraFiles = stdout, stdout, []*os.File{commands}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, s.cmd.Start())
	commands.Close()
	stdout.Close()
	done := make(chan struct{})
	go func() { s.out.follow(out); close(done) }()
	t.Cleanup(func() {
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // all of its group; it may have ended
		s.cmd.Wait()                                      // killed
		in.Close()
		<-done
		out.Close()
	})
	return s
}

// run runs one command and returns what it printed.
func (s *shell) run(command string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), stepTimeout)
	defer cancel()
	if _, err := io.WriteString(s.in, command+"\x00"); err != nil {
		return "", err
	}
	return s.out.until(ctx, "\n"+s.marker+"\n")
}

// set gives the shell a variable.
func (s *shell) set(name, value string) {
	s.t.Helper()
	_, err := s.run("export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'")
	require.NoError(s.t, err)
}

func TestShell(t *testing.T) {
	s := newShell(t, t.TempDir(), os.Environ())
	s.set("A", "it's")
	out, err := s.run("B=$A; cat; cat <<END\n$B\nEND")
	require.NoError(t, err)
	require.Equal(t, "it's\n", out, "standard input is empty, and a variable stays")
	out, err = s.run("echo \"$B\"; false | true; echo more")
	require.ErrorIs(t, err, errEnded)
	require.Equal(t, "it's\n", out)
}
