package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// archive writes the .tar.gz of one architecture: one folder, root's files, the commit's time.
func (r *release) archive(_ context.Context, arch string) error {
	items, err := r.contents(arch)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, i := range items {
		if i.archived == "" {
			continue
		}
		content, err := os.ReadFile(i.from)
		if err != nil {
			return err
		}
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: r.name(arch) + "/" + i.archived, Size: int64(len(content)),
			Mode: int64(i.mode), ModTime: r.time, Uname: "root", Gname: "root", Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if _, err := w.Write(content); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(r.dist(r.name(arch)+".tar.gz"), out.Bytes(), 0o644)
}

// sum writes SHA256SUMS over all that is in dist, as sha256sum(1) reads it.
func (r *release) sum(context.Context) error {
	entries, err := os.ReadDir(r.dist())
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, e := range entries {
		sum, err := fileSum(r.dist(e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s  %s\n", sum, e.Name())
	}
	return os.WriteFile(r.dist("SHA256SUMS"), []byte(out.String()), 0o644)
}

func fileSum(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}
