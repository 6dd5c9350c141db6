package main

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
)

const (
	docDir  = "/usr/share/doc/wgfleet"
	unitDir = "/usr/lib/systemd/system"
)

// unitKinds are the files of deploy/systemd that systemd reads; what else is there is documentation.
var unitKinds = []string{".service", ".socket", ".timer", ".path", ".target"}

// item is one file of a release.
type item struct {
	from      string // the file that has its content
	archived  string // its place in the archive, "" for none
	installed string // its place on a host, "" for none
	packager  string // deb or rpm, "" for both
	mode      fs.FileMode
}

// contents lists all files of a release for one architecture, in a fixed order.
func (r *release) contents(arch string) ([]item, error) {
	items := []item{{from: r.dist(r.name(arch)), archived: "wgfleet", installed: "/usr/bin/wgfleet", mode: 0o755}}
	for _, part := range []func() ([]item, error){r.documents, r.units, r.manPages} {
		more, err := part()
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	return append(items, r.completions()...), nil
}

func (r *release) documents() ([]item, error) {
	items := []item{
		document(r.source("README.md"), "README.md"),
		document(r.source("CHANGELOG.md"), "CHANGELOG.md"),
		document(r.source("cmd", "internal", "app", "sample.yaml"), "sample.yaml"),
		document(r.manual(licensesName), licensesName),
	}
	licenses, err := filepath.Glob(r.source("LICENSE*"))
	if err != nil {
		return nil, err
	}
	for _, l := range licenses {
		items = append(items, document(l, filepath.Base(l)))
	}
	err = filepath.WalkDir(r.source("docs"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		place, err := filepath.Rel(r.source(), name)
		items = append(items, document(name, filepath.ToSlash(place)))
		return err
	})
	return items, err
}

func document(from, place string) item {
	return item{from: from, archived: place, installed: path.Join(docDir, place), mode: 0o644}
}

// units lists deploy/systemd: units go where systemd reads them. The drop-ins for other roles are documentation, as
// `wgfleet install` writes those that are wanted.
func (r *release) units() ([]item, error) {
	var items []item
	top := r.source("deploy", "systemd")
	err := filepath.WalkDir(top, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == top {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() || path.Ext(name) == ".go" {
			return err
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		place := filepath.ToSlash(rel)
		one := item{from: name, archived: "systemd/" + place, installed: path.Join(docDir, "systemd", place), mode: 0o644}
		if slices.Contains(unitKinds, path.Ext(place)) {
			one.installed = path.Join(unitDir, place)
		}
		items = append(items, one)
		return nil
	})
	return items, err
}

// manPages lists the pages: plain in the archive, compressed on a host as man(1) wants them.
func (r *release) manPages() ([]item, error) {
	pages, err := filepath.Glob(r.manual("man", "*.1"))
	if err != nil {
		return nil, err
	}
	if len(pages) == 0 {
		return nil, errors.New("no man page was made")
	}
	var items []item
	for _, page := range pages {
		name := filepath.Base(page)
		items = append(items,
			item{from: page, archived: "man/man1/" + name, mode: 0o644},
			item{from: page + ".gz", installed: "/usr/share/man/man1/" + name + ".gz", mode: 0o644})
	}
	return items, nil
}

func (r *release) completions() []item {
	bash, zsh, fish := r.manual("completions", "wgfleet.bash"), r.manual("completions", "_wgfleet"), r.manual("completions", "wgfleet.fish")
	return []item{
		{from: bash, archived: "completions/wgfleet.bash", installed: "/usr/share/bash-completion/completions/wgfleet", mode: 0o644},
		{from: zsh, archived: "completions/_wgfleet", mode: 0o644},
		// Debian's zsh reads packages' functions in a place of its own.
		{from: zsh, installed: "/usr/share/zsh/vendor-completions/_wgfleet", packager: "deb", mode: 0o644},
		{from: zsh, installed: "/usr/share/zsh/site-functions/_wgfleet", packager: "rpm", mode: 0o644},
		{from: fish, archived: "completions/wgfleet.fish", installed: "/usr/share/fish/vendor_completions.d/wgfleet.fish", mode: 0o644},
	}
}
