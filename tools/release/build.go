package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// toolchain is the Go that a release is built with, whatever Go is installed: another one gives
// other bytes. The go command gets it from the module proxy where it is not there.
const toolchain = "go1.26.8"

// goCommand runs Go on the exported source, with no setting of this machine that changes bytes.
func (r *release) goCommand(ctx context.Context, arch string, args ...string) *exec.Cmd {
	c := command(ctx, r.source(), "go", args...)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "CGO_") && !strings.HasPrefix(name, "WG") {
			c.Env = append(c.Env, kv)
		}
	}
	c.Env = append(c.Env,
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOTOOLCHAIN="+toolchain, "GOFLAGS=-mod=readonly -trimpath -buildvcs=false", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off",
		"SOURCE_DATE_EPOCH="+r.epoch(), "PWD="+r.source(),
	)
	return c
}

// build writes the static binary of one architecture.
func (r *release) build(ctx context.Context, arch string) error {
	ldflags := "-s -w -buildid= -X main.version=" + r.version + " -X main.commit=" + r.commit[:12]
	_, err := output(r.goCommand(ctx, arch, "build", "-ldflags", ldflags, "-o", r.dist(r.name(arch)), "./cmd/wgfleet"))
	return err
}

// writeManual writes man pages and shell completions: a test of the command knows its tree.
func (r *release) writeManual(ctx context.Context) error {
	c := r.goCommand(ctx, "", "test", "-count=1", "-timeout=2m", "-run=^TestManual$", "./cmd/wgfleet",
		"-args", "-manual="+r.manual(), "-manual-date="+r.epoch(), "-manual-version="+r.version)
	// It runs here.
	c.Env = append(c.Env, "GOOS=", "GOARCH=")
	if _, err := output(c); err != nil {
		return err
	}
	pages, err := filepath.Glob(r.manual("man", "*.1"))
	if err != nil {
		return err
	}
	for _, page := range pages {
		if err := compress(page); err != nil {
			return fmt.Errorf("compress %s: %w", page, err)
		}
	}
	return nil
}

// compress writes a file's compressed copy beside it, without name and time.
func compress(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file+".gz", out.Bytes(), 0o644)
}
