package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// licensesName is the file with the license texts of all that is linked into the binaries.
const licensesName = "THIRD-PARTY-LICENSES.txt"

// standard stands for Go's standard library among the modules.
const standard = "stdlib"

var licenseFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents)([.-][^.]*)?(\.(md|txt|rst))?$`)

// licenses are the license files that apply to the linked packages of one module.
type licenses struct {
	dir   string          // of the module
	files map[string]bool // paths
}

// writeLicenses collects, as most licenses demand of who hands out binaries, the license texts of
// every module whose packages are linked in, of the packages' folders and those above.
func (r *release) writeLicenses(ctx context.Context) error {
	modules := map[string]*licenses{}
	for _, arch := range architectures {
		if err := r.linked(ctx, arch, modules); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	out.WriteString("wgfleet contains the following software under the licenses that follow.\n")
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		m := modules[name]
		if len(m.files) == 0 {
			return fmt.Errorf("%s has no license file: look at its terms before it is handed out", name)
		}
		for _, file := range slices.Sorted(maps.Keys(m.files)) {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			place, err := filepath.Rel(m.dir, file)
			if err != nil {
				return err
			}
			fmt.Fprintf(&out, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 80), name, filepath.ToSlash(place), bytes.TrimSpace(text))
		}
	}
	r.modules = modules
	return os.WriteFile(r.manual(licensesName), out.Bytes(), 0o644)
}

// linked adds the modules of the packages in the binary of one architecture, by path@version.
func (r *release) linked(ctx context.Context, arch string, modules map[string]*licenses) error {
	const format = "{{if .Standard}}" + standard + "\t{{.Root}}\t{{.Root}}{{else if not .Module.Main}}{{.Module.Path}}@{{.Module.Version}}\t{{.Module.Dir}}\t{{.Dir}}{{end}}"
	out, err := output(r.goCommand(ctx, arch, "list", "-deps", "-f", format, "./cmd/wgfleet"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) != 3 {
			continue // ours
		}
		m := modules[fields[0]]
		if m == nil {
			m = &licenses{dir: fields[1], files: map[string]bool{}}
			modules[fields[0]] = m
		}
		if err := m.add(fields[2]); err != nil {
			return err
		}
	}
	return nil
}

// add takes the license files of a folder and those above it up to the module's own.
func (l *licenses) add(dir string) error {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && licenseFile.MatchString(e.Name()) {
				l.files[filepath.Join(dir, e.Name())] = true
			}
		}
		if dir == l.dir || len(dir) < len(l.dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// expression names the licenses that a module's own files are, in SPDX's terms.
func (l *licenses) expression() (string, error) {
	found := map[string]bool{}
	for file := range l.files {
		if filepath.Dir(file) != l.dir {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		cover := licensecheck.Scan(text)
		if cover.Percent < 75 {
			continue
		}
		for _, match := range cover.Match {
			if spdxKnown[match.ID] {
				found[match.ID] = true
			}
		}
	}
	if len(found) == 0 {
		return "NOASSERTION", nil
	}
	return strings.Join(slices.Sorted(maps.Keys(found)), " AND "), nil
}

// spdxKnown are the names of licensecheck that are names on the SPDX License List too.
var spdxKnown = map[string]bool{
	"Apache-2.0": true, "BSD-2-Clause": true, "BSD-3-Clause": true, "BSL-1.0": true, "CC0-1.0": true,
	"ISC": true, "MIT": true, "MPL-2.0": true, "Unlicense": true, "Zlib": true,
}
