package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// command is a child that gets an interrupt, and ten seconds, when ctx ends.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	return c
}

// output runs a child for what it prints; its error has what it said.
func output(c *exec.Cmd) ([]byte, error) {
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		if said.Len() == 0 {
			said = out // go test
		}
		return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(c.Path), c.Args[1], err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}

func (r *release) git(ctx context.Context, args ...string) (string, error) {
	out, err := output(command(ctx, r.repo, "git", args...))
	return strings.TrimSpace(string(out)), err
}

// readCommit reads which commit is checked out, and refuses a tree that differs from it.
func (r *release) readCommit(ctx context.Context) error {
	dirt, err := r.git(ctx, "status", "--porcelain")
	if err != nil {
		return err
	}
	if first, rest, more := strings.Cut(dirt, "\n"); dirt != "" {
		if more {
			first += fmt.Sprintf(" and %d more", 1+strings.Count(rest, "\n"))
		}
		return fmt.Errorf("the tree is not clean (%s): commit or remove it", first)
	}
	if r.commit, err = r.git(ctx, "rev-parse", "HEAD"); err != nil {
		return err
	}
	tagged, err := r.git(ctx, "tag", "--list", r.version, "--format", "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)")
	if err != nil {
		return err
	}
	if tagged != "" && tagged != r.commit {
		return fmt.Errorf("the tag %s is on another commit, %.12s: check that out, or take the next version", r.version, tagged)
	}
	seconds, err := r.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Errorf("git's commit time: %w", err)
	}
	r.time = time.Unix(unix, 0).UTC()
	return nil
}

// export writes the commit's files to the source folder.
func (r *release) export(ctx context.Context) error {
	archive, err := output(command(ctx, r.repo, "git", "archive", "--format=tar", r.commit))
	if err != nil {
		return err
	}
	in := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("git's archive: %w", err)
		}
		if err := r.extract(h, in); err != nil {
			return err
		}
	}
}

func (r *release) extract(h *tar.Header, in io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if !filepath.IsLocal(h.Name) {
		return fmt.Errorf("git's archive has the path %q", h.Name)
	}
	path := r.source(h.Name)
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(path, 0o755)
	case tar.TypeReg:
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		return os.WriteFile(path, content, 0o644|fs.FileMode(h.Mode)&0o111)
	default:
		return fmt.Errorf("git's archive has %q, which is no file and no folder", h.Name)
	}
}
