//go:build check

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	testVersion = "v0.0.1-rc.1"
	testSection = "## [0.0.1-rc.1] - 2026-01-02\n\n### Added\n\n- What the check looks for.\n"
)

// do runs a tool that must succeed and returns what it prints.
func do(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	require.NoError(t, c.Run(), "%s %s: %s%s", name, strings.Join(args, " "), said.String(), out.String())
	return out.String()
}

// refused runs the release program, which must refuse a version in one line, and returns that.
func refused(t *testing.T, program, repo, version string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, "-repo", repo, "-version", version)
	out, err := c.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, strings.Count(string(out), "\n"), string(out))
	return string(out)
}

// testCommit clones what is checked out and commits what a release of the test version needs.
func testCommit(t *testing.T, dir string) {
	t.Helper()
	do(t, ".", nil, "git", "clone", "-q", "../..", dir)
	before, err := os.ReadFile(filepath.Join(dir, "CHANGELOG.md"))
	require.NoError(t, err)
	head, tail, found := strings.Cut(string(before), "\n## ")
	require.True(t, found)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "CHANGELOG.md"), []byte(head+"\n"+testSection+"\n## "+tail), 0o644))
	do(t, dir, nil, "git", "add", "-A")
	do(t, dir, nil, "git", "-c", "user.name=check", "-c", "user.email=check@example.com", "commit", "-qm", "check: a version")
}

// sumsOf returns the SHA-256 of all files of a folder by their names.
func sumsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	out := map[string]string{}
	for _, e := range entries {
		out[e.Name()], err = fileSum(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
	}
	return out
}

func TestRelease(t *testing.T) {
	base := t.TempDir()
	first, second := filepath.Join(base, "first"), filepath.Join(base, "elsewhere", "second")
	testCommit(t, first)
	do(t, ".", nil, "git", "clone", "-q", first, second)

	start := time.Now()
	do(t, first, nil, "make", "release", "VERSION="+testVersion)
	t.Logf("the first release took %s", time.Since(start).Round(time.Second))
	program := filepath.Join(first, "bin", "release")
	// Nothing of the machine and of what git ignores has a part in it.
	require.NoError(t, os.WriteFile(filepath.Join(second, "docs", "cpu.prof"), nil, 0o600))
	start = time.Now()
	do(t, second, []string{"TZ=Asia/Tokyo", "LC_ALL=C", "GOAMD64=v3", "CGO_ENABLED=1", "SOURCE_DATE_EPOCH=1", "WG_AGENT_PORT=1"},
		"sh", "-c", `umask 077; exec "$0" "$@"`, program, "-repo", second, "-version", testVersion)
	t.Logf("the second release took %s", time.Since(start).Round(time.Second))

	dist := filepath.Join(first, "dist")
	require.Equal(t, sumsOf(t, dist), sumsOf(t, filepath.Join(second, "dist")), "two releases of one commit differ")
	require.Empty(t, do(t, second, nil, "git", "status", "--porcelain"))

	made := &madeRelease{dist: dist, repo: first, base: base}
	t.Run("files", made.testFiles)
	t.Run("archive", made.testArchive)
	t.Run("deb", made.testDeb)
	t.Run("rpm", made.testRPM)
	t.Run("bill", made.testBill)
	t.Run("interrupt", func(t *testing.T) { testInterrupt(t, program, second) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, program, second) })
}

// Ctrl-C midway leaves dist as it was, and nothing else.
func testInterrupt(t *testing.T, program, repo string) {
	before := sumsOf(t, filepath.Join(repo, "dist"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, program, "-repo", repo, "-version", testVersion)
	said, err := c.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewReader(said)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "source: ")
	require.NoError(t, c.Process.Signal(syscall.SIGINT))
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Error(t, c.Wait())
	require.Equal(t, "release: interrupted: dist is as it was\n", string(rest))
	require.Equal(t, before, sumsOf(t, filepath.Join(repo, "dist")))
	left, err := filepath.Glob(filepath.Join(repo, ".dist-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func testRefusals(t *testing.T, program, repo string) {
	require.Contains(t, refused(t, program, repo, "1.2.3"), "is no version")
	require.Contains(t, refused(t, program, repo, "v7.7.7"), `CHANGELOG.md has no section "## [7.7.7] - YYYY-MM-DD"`)
	do(t, repo, nil, "git", "tag", testVersion, "HEAD~1")
	require.Contains(t, refused(t, program, repo, testVersion), "is on another commit")
	do(t, repo, nil, "git", "tag", "-d", testVersion)
	require.NoError(t, os.WriteFile(filepath.Join(repo, "README.md"), nil, 0o644))
	require.Contains(t, refused(t, program, repo, testVersion), "the tree is not clean")
}
