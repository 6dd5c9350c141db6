package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the repository.
const root = "../.."

// How a block is run; the word stands after console in the info string.
const (
	run        = ""           // in order, in the document's shell; the output is compared where it is shown
	background = "background" // the same, and goes on until the document ends
	given      = "set"        // variables that the test sets instead: its ports are free ones
	ci         = "ci"         // each line is a stage of .ci/run
	elsewhere  = "root"       // needs root or hosts of its own: not run here, and listed in notRun
)

// item is what a document asks of the shell: a command, a script or a scene.
type item struct {
	line   int
	how    string
	text   string
	part   string // the heading above
	scene  bool
	played bool     // the scene, while a command before it goes on
	output []string // nil where none is shown
}

// document is a Markdown file and what is to be run of it, in its order.
type document struct {
	name  string
	items []item
}

var (
	fence        = regexp.MustCompile("^```(\\w*) ?(.*)$")
	sceneComment = regexp.MustCompile(`^<!-- scene: (.+) -->$`)
	prompt       = regexp.MustCompile(`^(?:\w+)?\$ +`)
)

// parse reads the blocks console and bash and the scenes of a document.
func parse(name, text string) (document, error) {
	d := document{name: name}
	lines := strings.Split(text, "\n")
	part := ""
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "#") {
			part = lines[i]
			continue
		}
		if m := sceneComment.FindStringSubmatch(lines[i]); m != nil {
			d.items = append(d.items, item{line: i + 1, text: m[1], part: part, scene: true})
			continue
		}
		m := fence.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		first := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		if i == len(lines) {
			return d, fmt.Errorf("%s:%d: the block has no end", name, first)
		}
		items, err := block(m[1], m[2], lines[first:i])
		if err != nil {
			return d, fmt.Errorf("%s:%d: %w", name, first, err)
		}
		for _, it := range items {
			it.line += first + 1
			it.part = part
			d.items = append(d.items, it)
		}
	}
	return d, nil
}

// block returns the items of one block; their lines count from its first.
func block(language, how string, lines []string) ([]item, error) {
	switch {
	case language == "bash" && how == "":
		return []item{{text: strings.Join(lines, "\n")}}, nil
	case language != "console":
		return nil, nil
	case !slices.Contains([]string{run, background, given, ci, elsewhere}, how):
		return nil, fmt.Errorf("console %q is no way to run a block", how)
	}
	var items []item
	for i := 0; i < len(lines); i++ {
		p := prompt.FindString(lines[i])
		switch {
		case p == "" && len(items) == 0:
			return nil, fmt.Errorf("%q comes before the first command", lines[i])
		case p == "":
			last := &items[len(items)-1]
			last.output = append(last.output, lines[i])
			continue
		case how != elsewhere && p != "$ ":
			return nil, fmt.Errorf("the prompt %q is another host's: mark the block console %s", p, elsewhere)
		}
		it := item{line: i, how: how, text: strings.TrimPrefix(lines[i], p)}
		for strings.HasSuffix(lines[i], `\`) && i+1 < len(lines) {
			i++
			it.text += "\n" + lines[i]
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("a console block without a command")
	}
	return items, nil
}

// pattern matches what a document shows: … is anything within a line, and alone on one any lines.
func pattern(shown []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for _, line := range shown {
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		for i, part := range strings.Split(strings.TrimRight(line, " "), "…") {
			if i > 0 {
				b.WriteString(`[^\n]*?`)
			}
			b.WriteString(regexp.QuoteMeta(part))
		}
		b.WriteString(` *\n`)
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

// shows reports whether output is what the document shows of it.
func shows(shown []string, output string) bool {
	return pattern(shown).MatchString(strings.TrimRight(output, "\n") + "\n")
}

// read parses a file of the repository.
func read(t *testing.T, name string) document {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	require.NoError(t, err)
	d, err := parse(name, string(b))
	require.NoError(t, err)
	return d
}

// names lists every document: those at the top, and those in docs.
func names(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{".", "docs"} {
		found, err := filepath.Glob(filepath.Join(root, dir, "*.md"))
		require.NoError(t, err)
		for _, path := range found {
			out = append(out, filepath.ToSlash(filepath.Join(dir, filepath.Base(path))))
		}
	}
	return out
}

func TestParse(t *testing.T) {
	d, err := parse("x.md", strings.Join([]string{
		"# X", "<!-- scene: stop berlin -->", "```console", "$ a \\", "  b", "out", "", "$ c", "```", "```bash", "f() {", "}", "```",
		"```console root", "host$  d", "```", "```ini", "$ no", "```",
	}, "\n"))
	require.NoError(t, err)
	require.Equal(t, []item{
		{line: 2, part: "# X", text: "stop berlin", scene: true},
		{line: 4, part: "# X", text: "a \\\n  b", output: []string{"out", ""}},
		{line: 8, part: "# X", text: "c"},
		{line: 11, part: "# X", text: "f() {\n}"},
		{line: 15, part: "# X", how: elsewhere, text: "d"},
	}, d.items)
	for _, bad := range []string{
		"```console\nno prompt\n```", "```console\n```", "```console\n$ no end", "```console sometimes\n$ a\n```", "```console\nhost$ a\n```",
	} {
		_, err := parse("x.md", bad)
		require.Error(t, err, bad)
	}
}

func TestShows(t *testing.T) {
	for _, c := range []struct {
		shown, output string
		want          bool
	}{
		{"a", "a\n", true},
		{"a", "a", true},
		{"a", "ab", false},
		{"a", "a\nb", false},
		{"a…c (x)", "abbbc (x)", true},
		{"a…c", "ab\nc", false},
		{"a\n…\nd", "a\nb\nc\nd", true},
		{"a\n…\nd", "a\nd", true},
		{"a\n…", "a\nb\nc", true},
		{"a\n…\nd", "a\nb", false},
	} {
		require.Equal(t, c.want, shows(strings.Split(c.shown, "\n"), c.output), "%q of %q", c.shown, c.output)
	}
}
