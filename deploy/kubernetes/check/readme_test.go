package check_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	readmeVariable = regexp.MustCompile(`\b(?:WG|WGFLEET)_[A-Z_]*[A-Z]\b`)
	readmeCommand  = regexp.MustCompile(`(?m)^\s*(?:\$ )?wgfleet ((?:[^|>\n\\]|\\\n)+)`)
	readmeWords    = regexp.MustCompile(`^[a-z]+$`)
	readmeFlag     = regexp.MustCompile(`--[a-z-]+`)
	readmeLink     = regexp.MustCompile(`\]\(([^)]+)\)`)
)

// The README names variables, commands, flags and files that are there.
func TestReadme(t *testing.T) {
	b, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	text := string(b)
	for _, name := range readmeVariable.FindAllString(text, -1) {
		if _, known := help[name]; !known && name != "WGFLEET_API_KEY" {
			t.Errorf("%s is no setting", name)
		}
	}
	commands := readmeCommand.FindAllStringSubmatch(text, -1)
	require.Greater(t, len(commands), 8)
	for _, c := range commands {
		words := strings.Fields(c[1])
		n := slices.IndexFunc(words, func(w string) bool { return !readmeWords.MatchString(w) })
		if n < 0 {
			n = len(words)
		}
		usage := wgfleet(t, append(words[:min(n, 2):min(n, 2)], "--help")...)
		for _, flag := range readmeFlag.FindAllString(c[1], -1) {
			require.Regexp(t, flag+`[\[ ]`, usage, c[1])
		}
	}
	for _, l := range readmeLink.FindAllStringSubmatch(text, -1) {
		_, err := os.Stat(filepath.Join("..", l[1]))
		require.NoError(t, err)
	}
}
