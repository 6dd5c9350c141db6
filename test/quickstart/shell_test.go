//go:build root

package quickstart

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shell is what a person types into on one host; what one command sets, the next one has.
type shell struct {
	in     io.Writer
	out    *bufio.Scanner
	marker string
}

// newShell runs a bash by a command line; it ends with the test.
func newShell(t *testing.T, env []string, args ...string) *shell {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = env
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // with the status of its last command
	})
	return &shell{in: in, out: bufio.NewScanner(out), marker: "end of " + rand.Text()}
}

var errEnded = errors.New("the shell ended")

// run types one command and returns what it printed and its exit status.
func (s *shell) run(text string) (printed, status string, err error) {
	quoted := "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	if _, err := fmt.Fprintf(s.in, "eval %s </dev/null; printf '\\n%s %%s\\n' $?\n", quoted, s.marker); err != nil {
		return "", "", err
	}
	var b strings.Builder
	for s.out.Scan() {
		if status, ok := strings.CutPrefix(s.out.Text(), s.marker+" "); ok {
			return strings.TrimSuffix(b.String(), "\n"), status, nil
		}
		b.WriteString(s.out.Text() + "\n")
	}
	return b.String(), "", errors.Join(errEnded, s.out.Err())
}
