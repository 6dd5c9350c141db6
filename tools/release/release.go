package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// architectures are those of GOARCH that a release is for.
var architectures = []string{"amd64", "arm64"}

// release is one version of one commit.
type release struct {
	version string // v1.2.3
	repo    string
	commit  string    // in full
	time    time.Time // the commit's, UTC
	changes string    // what CHANGELOG.md tells of the version

	modules map[string]*licenses // what is linked in, by path@version; see writeLicenses

	work string // what is in the making: in the checkout, so that dist is one rename away
	log  io.Writer
}

// prepare refuses what can't be released before any work is done.
func prepare(ctx context.Context, repo, version string) (*release, error) {
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	r := &release{version: version, repo: repo}
	if err := r.readCommit(ctx); err != nil {
		return nil, err
	}
	changelog, err := os.ReadFile(filepath.Join(repo, "CHANGELOG.md"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if r.changes, err = section(string(changelog), version); err != nil {
		return nil, err
	}
	return r, nil
}

// make writes dist, or leaves it as it was.
func (r *release) make(ctx context.Context) (err error) {
	if r.work, err = os.MkdirTemp(r.repo, ".dist-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	for _, dir := range []string{r.source(), r.manual(), r.dist()} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"source", r.export},
		{"manual", r.writeManual},
		{"binaries", r.eachArchitecture((*release).build)},
		{"licenses", r.writeLicenses},
		{"archives", r.eachArchitecture((*release).archive)},
		{"packages", r.eachArchitecture((*release).pack)},
		{"bills of materials", r.eachArchitecture((*release).bill)},
		{"changes", r.writeChanges},
		{"checksums", r.sum},
		{"dist", r.publish},
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(r.log, "%s: %d ms\n", step.name, time.Since(start).Milliseconds())
	}
	return nil
}

// eachArchitecture does one step for all architectures at the same time.
func (r *release) eachArchitecture(do func(*release, context.Context, string) error) func(context.Context) error {
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, arch := range architectures {
			group.Go(func() error {
				if err := do(r, ctx, arch); err != nil {
					return fmt.Errorf("%s: %w", arch, err)
				}
				return nil
			})
		}
		return group.Wait()
	}
}

func (r *release) source(path ...string) string { return r.inWork("source", path) }
func (r *release) manual(path ...string) string { return r.inWork("manual", path) }
func (r *release) dist(path ...string) string   { return r.inWork("dist", path) }

func (r *release) inWork(dir string, path []string) string {
	return filepath.Join(append([]string{r.work, dir}, path...)...)
}

// name is that of a file for one architecture; packages have the names of their own kind.
func (r *release) name(arch string) string { return "wgfleet_" + r.version + "_linux_" + arch }

func (r *release) epoch() string { return strconv.FormatInt(r.time.Unix(), 10) }

func (r *release) writeChanges(context.Context) error {
	text := "# wgfleet " + r.version + "\n\n" + r.changes + "\n"
	return os.WriteFile(r.dist("CHANGES.md"), []byte(text), 0o644)
}

// publish puts the finished dist in the place of the one before.
func (r *release) publish(context.Context) error {
	dist, before := filepath.Join(r.repo, "dist"), filepath.Join(r.work, "before")
	err := os.Rename(dist, before)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	replaced := err == nil
	if err := os.Rename(r.dist(), dist); err != nil {
		if replaced {
			err = errors.Join(err, os.Rename(before, dist))
		}
		return err
	}
	return nil
}
