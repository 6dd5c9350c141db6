// Package docs runs the commands of the documents as they stand there, against the built binary, and
// compares what they print with what the documents show. A document has one shell, in which its
// blocks run in order. The comments <!-- scene: … --> say what happens between them.
package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

func TestMain(m *testing.M) { os.Exit(binary.Main(m)) }

// tools are the programs that the documents' commands need beside wgfleet, each with Debian's package.
var tools = map[string]string{"bash": "bash", "curl": "curl", "jq": "jq", "openssl": "openssl", "base64": "coreutils"}

// own starts its panel itself.
var own = map[string]bool{"README.md": true}

// followed are the parts of documents whose commands another suite runs as written, by the file that names the part.
var followed = map[string]map[string]string{
	"docs/quickstart.md": {
		"## On a host":                      "test/quickstart/quickstart_test.go",
		"### Everything through the tunnel": "test/quickstart/quickstart_test.go",
		"## In a container":                 ".ci/test-image",
	},
	"docs/migration.md": {
		"## From the Python agent":           "test/migrate/document_test.go",
		"## From wg-quick alone":             "test/quickstart/migration_test.go",
		"## From WGDashboard":                "test/quickstart/migration_test.go",
		"## From wg-easy":                    "test/quickstart/migration_test.go",
		"### Disabled clients of version 14": "test/quickstart/migration_test.go",
	},
}

// notRun lists the commands that are run nowhere as written, by the document: they need root or hosts of their own. The
// suites test/host and test/migrate do as they do, in namespaces and on a host that systemd runs.
var notRun = map[string][]string{
	"README.md": {
		"umask 077", "printf …", "wgfleet secret …", "WG_AGENT_SECRET_FILE=berlin.secret …", "wgfleet node add berlin …",
		"wgfleet node test berlin", "wgfleet peer add berlin phone",
		"wgfleet migrate --from …", "wgfleet migrate --from …", "wgfleet migrate --undo …",
	},
	"docs/backup.md": { // test/systemd runs them
		"systemctl stop 'wgfleet*.socket'", "systemctl stop wgfleet", "cd /var/lib/wgfleet", "mv panel panel.newer", "cp -a …",
		"systemctl start --all 'wgfleet*.socket'", "systemctl start wgfleet",
	},
	"docs/gateway.md":    {"docker run …"},
	"docs/quickstart.md": {"kubectl apply …", "kubectl -n wgfleet rollout status …", "wgfleet node add cluster …", "wgfleet peer add cluster laptop"},
}

func TestDocuments(t *testing.T) {
	for tool, pkg := range tools {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "the documents' commands need %s: apt-get install %s", tool, pkg)
	}
	binary.WatchSources()
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := read(t, name)
			t.Cleanup(func() { d.checkNotRun(t) })
			s := &stage{t: t}
			if d.runs() {
				s = newStage(t)
			}
			if d.runs() && !own[name] {
				s.startPanel()
			}
			for i := range d.items {
				s.perform(d.name, d.items[i], d.items[i+1:])
			}
		})
	}
}

// runs reports whether a document has a command for the shell.
func (d document) runs() bool {
	for _, it := range d.items {
		if !it.scene && (it.how == run || it.how == background) {
			return true
		}
	}
	return false
}

// checkNotRun says what was not run, and that nothing else was left out.
func (d document) checkNotRun(t *testing.T) {
	t.Helper()
	var left []string
	for part, file := range followed[d.name] {
		require.True(t, slices.ContainsFunc(d.items, func(it item) bool { return it.part == part && it.how == elsewhere }), "%s has nothing to follow below %q", d.name, part)
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		require.NoError(t, err)
		require.Contains(t, string(text), strings.TrimLeft(part, "# "), "%s does not follow %q of %s", file, part, d.name)
	}
	for _, it := range d.items {
		if _, ok := followed[d.name][it.part]; it.how == elsewhere && !ok {
			t.Logf("%s:%d: not run here: %s", d.name, it.line, it.text)
			left = append(left, it.text)
		}
	}
	want := notRun[d.name]
	require.Len(t, left, len(want), "the commands that are not run: %q", left)
	for i := range want {
		require.True(t, pattern([]string{want[i] + "…"}).MatchString(strings.ReplaceAll(left[i], "\n", " ")+"\n"), "%q is not run, expected was %q", left[i], want[i])
	}
}

// perform does one item and compares. What goes on may show what the scene after it brings about.
func (s *stage) perform(name string, it item, next []item) {
	s.t.Helper()
	where := fmt.Sprintf("%s:%d: %s", name, it.line, it.text)
	switch {
	case it.scene && !it.played:
		s.play(it.text)
		return
	case it.scene:
		return
	case it.how == elsewhere:
		return
	case it.how == ci:
		require.True(s.t, inCI(s.t, it.text), "%s: no stage of .ci/run does that", where)
		return
	case it.how == given:
		name, _, _ := strings.Cut(it.text, "=")
		out, err := s.shell.run("printenv " + name)
		require.NoError(s.t, err, "%s: the test has no such variable: %s", where, out)
		return
	case it.how == background:
		s.performInBackground(where, it, next)
		return
	}
	out, err := s.shell.run(it.text)
	require.NoError(s.t, err, "%s\nprinted:\n%s", where, out)
	if it.output != nil {
		require.True(s.t, shows(it.output, out), "%s\nprinted:\n%s\nthe document shows:\n%s", where, out, strings.Join(it.output, "\n"))
	}
}

// performInBackground starts a command that goes on, plays the scene that comes next, if one does, and
// waits until the command printed what is shown.
func (s *stage) performInBackground(where string, it item, next []item) {
	s.t.Helper()
	require.NotNil(s.t, it.output, "%s: what goes on must show what it prints", where)
	path := filepath.Join(s.t.TempDir(), "output")
	_, err := s.shell.run("{ " + it.text + "\n} >'" + path + "' 2>&1 &")
	require.NoError(s.t, err, where)
	if len(next) > 0 && next[0].scene {
		s.play(next[0].text)
		next[0].played = true
	}
	s.waiting(func() bool {
		b, err := os.ReadFile(path)
		return err == nil && pattern(append(it.output, "…")).MatchString(string(b))
	}, func() string {
		b, _ := os.ReadFile(path) // for the message
		return fmt.Sprintf("%s\nprinted:\n%s\nthe document shows:\n%s", where, b, strings.Join(it.output, "\n"))
	})
	if b, err := os.ReadFile(path); err == nil && s.panelURL == "" {
		if _, panelURL, ok := binary.Ready(string(b)); ok {
			s.panelAt(panelURL)
		}
	}
}

// waiting asks again and again until it is so.
func (s *stage) waiting(so func() bool, message func() string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), stepTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatal(message())
		}
	}
}

// inCI reports whether a command is a stage of .ci/run, there perhaps with more words.
func inCI(t *testing.T, command string) bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	require.NoError(t, err)
	command, _, _ = strings.Cut(command, " #")
	for line := range strings.Lines(string(b)) {
		words := strings.Fields(line)
		if len(words) > 2 && words[0] == "stage" && strings.HasPrefix(strings.Join(words[2:], " ")+" ", strings.TrimSpace(command)+" ") {
			return true
		}
	}
	return false
}
