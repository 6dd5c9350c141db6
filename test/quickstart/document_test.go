//go:build root

package quickstart

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// command is one that a document has a person type, and what it shows of the output.
type command struct {
	line   int
	host   string // of the prompt, such as server
	text   string
	output []string // nil where none is shown
}

var prompt = regexp.MustCompile(`^(\w+)\$ +`)

// commands are those of a section's blocks "console root", up to the next heading of any level. A \ at the end continues a
// command; the lines after it are what it prints.
func commands(t *testing.T, document, heading string) []command {
	t.Helper()
	text, err := os.ReadFile(document)
	require.NoError(t, err)
	var out []command
	inside, block, goesOn := false, false, false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case !block && strings.HasPrefix(line, "#"):
			inside = line == heading
		case inside && line == "```console root":
			block = true
		case block && line == "```":
			block, goesOn = false, false
		case block && goesOn:
			last := &out[len(out)-1]
			last.text += "\n" + line
			goesOn = strings.HasSuffix(line, `\`)
		case block:
			if m := prompt.FindStringSubmatch(line); m != nil {
				out = append(out, command{line: i + 1, host: m[1], text: line[len(m[0]):]})
				goesOn = strings.HasSuffix(line, `\`)
				continue
			}
			require.NotEmpty(t, out, "%s:%d: output before the first command", document, i+1)
			last := &out[len(out)-1]
			last.output = append(last.output, line)
		}
	}
	require.NotEmpty(t, out, "%s has no commands below %q", document, heading)
	return out
}

// shows reports whether output is what a document shows of it: … is anything within a line, and alone on one any lines.
func shows(shown []string, output string) bool {
	var b strings.Builder
	b.WriteString(`\A`)
	for _, line := range shown {
		if line == "…" {
			b.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", `[^\n]*?`) + `\n`)
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String()).MatchString(strings.TrimRight(output, "\n") + "\n")
}
