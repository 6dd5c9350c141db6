//go:build root

package migrate

import (
	"os"
	"os/exec"
	"strings"

	"github.com/stretchr/testify/require"
)

// document is where the commands stand that a person types, below the heading "From the Python agent".
const document = "docs/migration.md"

// documented runs them as they stand there, one by one, and tells what was printed.
func (h host) documented(after func(command string, out string)) {
	h.Helper()
	text, err := os.ReadFile(document)
	require.NoError(h, err)
	_, part, found := strings.Cut(string(text), "\n## From the Python agent\n")
	require.True(h, found)
	part, _, _ = strings.Cut(part, "\n## ")
	for line := range strings.Lines(part) {
		command, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "server$ ")
		if !ok {
			continue
		}
		cmd := exec.CommandContext(h.Context(), "bash", "-c", command)
		cmd.Env = append(os.Environ(), "PATH=/opt/wgfleet:"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		h.Logf("%s\n%s", command, out)
		require.NoError(h, err, command)
		h.silent(out)
		after(command, string(out))
	}
}
