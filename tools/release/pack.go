package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers its packager
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // registers its packager
)

// scripts are the maintainer scripts, the same for dpkg and rpm.
//
//go:embed scripts
var scripts embed.FS

// pack writes the .deb and the .rpm of one architecture.
func (r *release) pack(_ context.Context, arch string) error {
	items, err := r.contents(arch)
	if err != nil {
		return err
	}
	dir, err := r.writeScripts(arch, items)
	if err != nil {
		return err
	}
	for _, format := range []string{"deb", "rpm"} {
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		info := r.packageInfo(arch, dir)
		info.Contents = r.packaged(items, format)
		if format == "rpm" {
			info.Release = "1" // a must there; a .deb without a Debian of its own has none
		}
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
		var out bytes.Buffer
		if err := packager.Package(info, &out); err != nil {
			return fmt.Errorf("%s: %w", format, err)
		}
		if err := os.WriteFile(r.dist(packager.ConventionalFileName(info)), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r *release) packageInfo(arch, scripts string) *nfpm.Info {
	return nfpm.WithDefaults(&nfpm.Info{
		Name: "wgfleet", Arch: arch, Platform: "linux", Version: r.version,
		Section: "net", Priority: "optional", MTime: r.time, DisableGlobbing: true,
		Maintainer: "The wgfleet maintainers <wgfleet@users.noreply.github.com>", Vendor: "wgfleet",
		Homepage: "https://github.com/wgfleet/wgfleet",
		Description: "agent and panel for a fleet of WireGuard nodes\n" +
			"The agent owns a host's WireGuard interfaces; the panel keeps what every\n" +
			"node should be, shows where one is not, and puts it right.",
		Overridables: nfpm.Overridables{
			Recommends: []string{"wireguard-tools"},
			Scripts: nfpm.Scripts{
				PostInstall: filepath.Join(scripts, "postinstall.sh"),
				PreRemove:   filepath.Join(scripts, "preremove.sh"),
				PostRemove:  filepath.Join(scripts, "postremove.sh"),
			},
			RPM: nfpm.RPM{BuildHost: "localhost", Summary: "Agent and panel for a fleet of WireGuard nodes"},
		},
	})
}

func (r *release) packaged(items []item, format string) files.Contents {
	var out files.Contents
	// Folders of others are not the package's; without these, rpm would leave its own behind.
	folders := map[string]bool{docDir: true}
	for _, i := range items {
		if i.installed == "" || i.packager != "" && i.packager != format {
			continue
		}
		out = append(out, &files.Content{
			Source: i.from, Destination: i.installed,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: i.mode, MTime: r.time},
		})
		if dir := path.Dir(i.installed); strings.HasPrefix(dir, docDir+"/") {
			folders[dir] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		out = append(out, &files.Content{
			Destination: dir, Type: files.TypeDir,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: 0o755, MTime: r.time},
		})
	}
	return out
}

// writeScripts writes the maintainer scripts with the units that the package has, and returns their folder.
func (r *release) writeScripts(arch string, items []item) (string, error) {
	dir := filepath.Join(r.work, "scripts-"+arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	entries, err := scripts.ReadDir("scripts")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		text, err := scripts.ReadFile("scripts/" + e.Name())
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), []byte(withUnits(string(text), items)), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// withUnits fills in the names of the units: sockets first, as they would start a service that is stopped before.
func withUnits(script string, items []item) string {
	var sockets, others []string
	for _, i := range items {
		switch {
		case path.Dir(i.installed) != unitDir:
		case path.Ext(i.installed) == ".socket":
			sockets = append(sockets, path.Base(i.installed))
		default:
			others = append(others, path.Base(i.installed))
		}
	}
	return strings.ReplaceAll(script, "@UNITS@", strings.Join(slices.Concat(sockets, others), " "))
}
