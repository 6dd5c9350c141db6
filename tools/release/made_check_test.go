//go:build check

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
	"github.com/stretchr/testify/require"
)

// madeRelease is a dist and where it comes from.
type madeRelease struct {
	dist, repo, base string
}

func (m *madeRelease) read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dist, name))
	require.NoError(t, err)
	return b
}

func (m *madeRelease) testFiles(t *testing.T) {
	var names []string
	for name := range sumsOf(t, m.dist) {
		names = append(names, name)
	}
	require.ElementsMatch(t, []string{
		"CHANGES.md", "SHA256SUMS",
		"wgfleet_v0.0.1-rc.1_linux_amd64", "wgfleet_v0.0.1-rc.1_linux_amd64.tar.gz", "wgfleet_v0.0.1-rc.1_linux_amd64.spdx.json",
		"wgfleet_v0.0.1-rc.1_linux_arm64", "wgfleet_v0.0.1-rc.1_linux_arm64.tar.gz", "wgfleet_v0.0.1-rc.1_linux_arm64.spdx.json",
		"wgfleet_0.0.1~rc.1_amd64.deb", "wgfleet_0.0.1~rc.1_arm64.deb",
		"wgfleet-0.0.1~rc.1-1.x86_64.rpm", "wgfleet-0.0.1~rc.1-1.aarch64.rpm",
	}, names)
	checked := do(t, m.dist, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	require.Equal(t, len(names)-1, strings.Count(checked, ": OK\n"))
	require.Equal(t, "# wgfleet v0.0.1-rc.1\n\n### Added\n\n- What the check looks for.\n", string(m.read(t, "CHANGES.md")))

	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.NewFile(bytes.NewReader(m.read(t, "wgfleet_v0.0.1-rc.1_linux_"+arch)))
		require.NoError(t, err)
		require.Equal(t, machine, f.Machine)
		for _, p := range f.Progs {
			require.NotEqual(t, elf.PT_INTERP, p.Type, "the binary is not static")
		}
	}
}

func (m *madeRelease) testArchive(t *testing.T) {
	z, err := gzip.NewReader(bytes.NewReader(m.read(t, "wgfleet_v0.0.1-rc.1_linux_amd64.tar.gz")))
	require.NoError(t, err)
	time := strings.TrimSpace(do(t, m.repo, nil, "git", "log", "-1", "--format=%ct"))
	found := map[string][]byte{}
	for in := tar.NewReader(z); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		name, inside := strings.CutPrefix(h.Name, "wgfleet_v0.0.1-rc.1_linux_amd64/")
		require.True(t, inside, h.Name)
		require.Equal(t, time, strconv.FormatInt(h.ModTime.Unix(), 10), h.Name)
		found[name], err = io.ReadAll(in)
		require.NoError(t, err)
	}
	require.True(t, bytes.Equal(m.read(t, "wgfleet_v0.0.1-rc.1_linux_amd64"), found["wgfleet"]))
	for _, name := range []string{
		"README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES.txt", "sample.yaml", "docs/architecture.md", "systemd/wgfleet.service",
		"completions/wgfleet.bash", "completions/_wgfleet", "completions/wgfleet.fish", "man/man1/wgfleet.1", "man/man1/wgfleet-peer-add.1",
	} {
		require.NotEmpty(t, found[name], name)
	}
	require.NotContains(t, found, "docs/cpu.prof")
	require.NotContains(t, found, "systemd/units.go")
	require.Contains(t, string(found["man/man1/wgfleet.1"]), `"wgfleet v0.0.1-rc.1"`)
}

// host is a folder that dpkg takes for a system on which systemd runs.
func (m *madeRelease) host(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "run/systemd/system", "etc/wireguard"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, file := range []string{"var/lib/dpkg/status", "etc/wireguard/wg0.conf"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, file), nil, 0o600))
	}
	return root
}

func (m *madeRelease) testDeb(t *testing.T) {
	deb := filepath.Join(m.dist, "wgfleet_0.0.1~rc.1_amd64.deb")
	require.Equal(t, "wgfleet 0.0.1~rc.1 amd64 wireguard-tools", do(t, m.dist, nil,
		"dpkg-deb", "--showformat", "${Package} ${Version} ${Architecture} ${Recommends}", "--show", deb))
	require.Contains(t, do(t, m.dist, nil, "dpkg-deb", "--field", "wgfleet_0.0.1~rc.1_arm64.deb"), "Architecture: arm64\n")

	root := m.host(t)
	bin, log := fakeSystemctl(t)
	dpkg := func(args ...string) []string {
		do(t, root, []string{"PATH=" + bin + ":/usr/sbin:/sbin:" + os.Getenv("PATH")}, "dpkg",
			append([]string{"--root=" + root, "--log=/dev/null", "--force-not-root", "--force-script-chrootless"}, args...)...)
		return asked(t, log)
	}
	require.Equal(t, []string{"daemon-reload"}, dpkg("--force-architecture", "--install", deb), "a new installation starts nothing")
	said := do(t, root, nil, filepath.Join(root, "usr/bin/wgfleet"), "version")
	commit := do(t, m.repo, nil, "git", "rev-parse", "--short=12", "HEAD")
	require.Contains(t, said, "wgfleet v0.0.1-rc.1, commit "+strings.TrimSpace(commit)+", go")
	m.testUnits(t, root)
	m.testShells(t, root)

	require.Equal(t, []string{"daemon-reload", "daemon-reload", "try-restart wgfleet.service"}, dpkg("--install", deb), "an upgrade")
	removed := dpkg("--remove", "wgfleet")
	require.Equal(t, []string{"disable --now wgfleet-panel.socket", "disable --now wgfleet.socket", "disable --now wgfleet.service", "daemon-reload"}, removed)
	require.NoDirExists(t, filepath.Join(root, "usr/bin"))
	dpkg("--purge", "wgfleet")
	require.FileExists(t, filepath.Join(root, "etc/wireguard/wg0.conf"))
}

var execStart = regexp.MustCompile(`(?m)^Exec\w+=[-@:+!]*(\S+)`)

// testUnits looks whether the units of the commit are where systemd reads them, and run what is installed.
func (m *madeRelease) testUnits(t *testing.T, root string) {
	t.Helper()
	source := filepath.Join(m.repo, "deploy", "systemd")
	entries, err := os.ReadDir(source)
	require.NoError(t, err)
	var units []string
	for _, e := range entries {
		if !slices.Contains(unitKinds, filepath.Ext(e.Name())) {
			continue
		}
		units = append(units, e.Name())
		want, err := os.ReadFile(filepath.Join(source, e.Name()))
		require.NoError(t, err)
		is, err := os.ReadFile(filepath.Join(root, unitDir, e.Name()))
		require.NoError(t, err)
		require.Equal(t, string(want), string(is))
		for _, run := range execStart.FindAllStringSubmatch(string(is), -1) {
			if strings.HasSuffix(run[1], "/wgfleet") {
				require.Equal(t, "/usr/bin/wgfleet", run[1], e.Name())
			}
		}
	}
	installed, err := os.ReadDir(filepath.Join(root, unitDir))
	require.NoError(t, err)
	require.Len(t, installed, len(units), "units that the commit does not have")
	require.Contains(t, units, "wgfleet.service")
	require.Contains(t, units, "wgfleet.socket")
}

func (m *madeRelease) testShells(t *testing.T, root string) {
	t.Helper()
	do(t, root, nil, "bash", "-n", "usr/share/bash-completion/completions/wgfleet")
	do(t, root, nil, "zsh", "-n", "usr/share/zsh/vendor-completions/_wgfleet")
	do(t, root, nil, "fish", "--no-execute", "usr/share/fish/vendor_completions.d/wgfleet.fish")
	require.Contains(t, do(t, root, nil, "zcat", "usr/share/man/man1/wgfleet-serve.1.gz"), `.TH "WGFLEET-SERVE"`)
}

func (m *madeRelease) testRPM(t *testing.T) {
	for arch, name := range map[string]string{"amd64": "wgfleet-0.0.1~rc.1-1.x86_64.rpm", "arm64": "wgfleet-0.0.1~rc.1-1.aarch64.rpm"} {
		require.Contains(t, do(t, m.dist, nil, "rpm", "--checksig", "--nosignature", name), "digests OK")
		require.Equal(t, "wireguard-tools\n", do(t, m.dist, nil, "rpm", "-qp", "--nosignature", "--recommends", name))
		scripts := do(t, m.dist, nil, "rpm", "-qp", "--nosignature", "--scripts", name)
		for _, part := range []string{"postinstall scriptlet", "preuninstall scriptlet", "postuninstall scriptlet"} {
			require.Contains(t, scripts, part)
		}
		sum, err := fileSum(filepath.Join(m.dist, "wgfleet_v0.0.1-rc.1_linux_"+arch))
		require.NoError(t, err)
		files := strings.Split(do(t, m.dist, nil, "rpm", "-qp", "--nosignature", "--qf", "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME} %{FILEDIGESTS}\n]", name), "\n")
		require.Contains(t, files, "/usr/bin/wgfleet -rwxr-xr-x root "+sum)
		list := do(t, m.dist, nil, "rpm", "-qpl", "--nosignature", name)
		for _, path := range []string{
			unitDir + "/wgfleet.service", docDir + "/README.md", docDir + "/docs/architecture.md", "/usr/share/man/man1/wgfleet.1.gz",
			"/usr/share/bash-completion/completions/wgfleet", "/usr/share/zsh/site-functions/_wgfleet", "/usr/share/fish/vendor_completions.d/wgfleet.fish",
		} {
			require.Contains(t, list, path+"\n")
		}
		require.NotContains(t, list, "/etc/wireguard")
	}
}

func (m *madeRelease) testBill(t *testing.T) {
	for _, arch := range architectures {
		binary := "wgfleet_v0.0.1-rc.1_linux_" + arch
		doc, err := spdxjson.Read(bytes.NewReader(m.read(t, binary+".spdx.json")))
		require.NoError(t, err)
		require.NoError(t, spdxlib.ValidateDocument(doc))
		described, err := spdxlib.GetDescribedPackageIDs(doc)
		require.NoError(t, err)
		require.Len(t, described, 1)
		sum, err := fileSum(filepath.Join(m.dist, binary))
		require.NoError(t, err)
		require.Equal(t, sum, doc.Packages[0].PackageChecksums[0].Value)

		versions, identifiers := map[string]string{}, map[string]bool{}
		for _, p := range doc.Packages {
			versions[p.PackageName] = p.PackageVersion
			identifiers[string(p.PackageSPDXIdentifier)] = true
			require.NotEmpty(t, p.PackageLicenseDeclared, p.PackageName)
		}
		require.Len(t, identifiers, len(doc.Packages))
		info, err := buildinfo.ReadFile(filepath.Join(m.dist, binary))
		require.NoError(t, err)
		require.Equal(t, strings.TrimPrefix(toolchain, "go"), versions[standard])
		require.Len(t, versions, len(info.Deps)+2)
		for _, d := range info.Deps {
			require.Equal(t, d.Version, versions[d.Path], d.Path)
		}
	}
}
