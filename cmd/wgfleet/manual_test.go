package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// A release runs TestManual with -manual: the pages come from the command tree itself, and the
// binary carries no generator.
var (
	manualDir     = flag.String("manual", "", "write man pages and shell completions into this folder")
	manualDate    = flag.Int64("manual-date", 0, "date of the man pages, in seconds since 1970")
	manualVersion = flag.String("manual-version", version, "version that the man pages name")
)

// markdown takes the meaning from what cobra/doc would read as Markdown.
var markdown = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `_`, `\_`, `<`, `\<`, `[`, `\[`, "`", "\\`")

// flagLine is how cobra/doc writes a flag; man(7) has .TP for a tag and its text.
var flagLine = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*)\n\t`)

// walk calls f for every command that a person sees.
func walk(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			walk(sub, f)
		}
	}
}

// quietRoot is the command tree as on a host where nothing is set.
func quietRoot() *cobra.Command {
	var none bytes.Buffer
	root := newRoot(&console{in: &none, out: &none, err: &none})
	root.InitDefaultCompletionCmd()
	return root
}

func writeManPages(t *testing.T, dir string, date time.Time) {
	t.Helper()
	root := quietRoot()
	root.DisableAutoGenTag = true
	walk(root, func(c *cobra.Command) {
		c.Short, c.Long = markdown.Replace(c.Short), markdown.Replace(c.Long)
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { f.Usage = markdown.Replace(f.Usage) })
	})
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, doc.GenManTree(root, &doc.GenManHeader{
		Section: "1", Date: &date, Source: "wgfleet " + *manualVersion, Manual: "wgfleet",
	}, dir))
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	require.NoError(t, err)
	for _, page := range pages {
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		b = flagLine.ReplaceAll(b, []byte(".TP\n$1\n\\&"))
		require.NoError(t, os.WriteFile(page, b, 0o644))
	}
}

func writeCompletions(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	root := quietRoot()
	require.NoError(t, root.GenBashCompletionFileV2(filepath.Join(dir, "wgfleet.bash"), true))
	require.NoError(t, root.GenZshCompletionFile(filepath.Join(dir, "_wgfleet")))
	require.NoError(t, root.GenFishCompletionFile(filepath.Join(dir, "wgfleet.fish"), true))
}

func TestManual(t *testing.T) {
	dir := *manualDir
	if dir == "" {
		dir = t.TempDir()
	}
	date := time.Unix(*manualDate, 0).UTC()
	writeManPages(t, filepath.Join(dir, "man"), date)
	writeCompletions(t, filepath.Join(dir, "completions"))

	walk(quietRoot(), func(c *cobra.Command) {
		page := filepath.Join(dir, "man", strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
		b, err := os.ReadFile(page)
		require.NoError(t, err)
		text := strings.ReplaceAll(string(b), `\`, "")
		require.Contains(t, text, strconv.Quote(date.Format("Jan 2006")), page)
		require.Contains(t, text, strings.ReplaceAll(c.Short, `\`, ""), page)
		c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			require.True(t, f.Hidden || strings.Contains(text, "--"+f.Name), "%s says nothing of --%s", page, f.Name)
		})
	})
	for name, marker := range map[string]string{
		"wgfleet.bash": "__start_wgfleet", "_wgfleet": "#compdef wgfleet", "wgfleet.fish": "complete -c wgfleet",
	} {
		b, err := os.ReadFile(filepath.Join(dir, "completions", name))
		require.NoError(t, err)
		require.Contains(t, string(b), marker)
	}
}
