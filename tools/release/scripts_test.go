package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakeSystemctl makes a folder with a systemctl that only writes what it is asked into a file.
func fakeSystemctl(t *testing.T) (dir, log string) {
	t.Helper()
	dir = t.TempDir()
	log = filepath.Join(dir, "log")
	script := "#!/bin/sh\necho \"$@\" >> " + log + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o755))
	return dir, log
}

// asked returns what systemctl was asked since the last time.
func asked(t *testing.T, log string) []string {
	t.Helper()
	b, err := os.ReadFile(log)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	require.NoError(t, os.Remove(log))
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestMaintainerScripts(t *testing.T) {
	units := []item{{installed: unitDir + "/wgfleet.service"}, {installed: unitDir + "/wgfleet.socket"}, {installed: docDir + "/systemd/panel.conf"}}
	for _, tt := range []struct {
		script, args string
		asks         []string
	}{
		// dpkg: deb-postinst(5), deb-prerm(5), deb-postrm(5)
		{"postinstall", "configure", []string{"daemon-reload"}},
		{"postinstall", "configure 1.0.0", []string{"daemon-reload", "try-restart wgfleet.service"}},
		{"postinstall", "abort-upgrade 1.0.0", []string{"daemon-reload"}},
		{"preremove", "upgrade 1.0.1", nil},
		{"preremove", "failed-upgrade 1.0.1", nil},
		{"preremove", "remove", []string{"disable --now wgfleet.socket", "disable --now wgfleet.service"}},
		{"postremove", "remove", []string{"daemon-reload"}},
		{"postremove", "upgrade 1.0.1", []string{"daemon-reload"}},
		{"postremove", "purge", []string{"daemon-reload"}},
		// rpm: how many versions there are then
		{"postinstall", "1", []string{"daemon-reload"}},
		{"postinstall", "2", []string{"daemon-reload", "try-restart wgfleet.service"}},
		{"preremove", "1", nil},
		{"preremove", "0", []string{"disable --now wgfleet.socket", "disable --now wgfleet.service"}},
		{"postremove", "1", []string{"daemon-reload"}},
		{"postremove", "0", []string{"daemon-reload"}},
	} {
		t.Run(tt.script+" "+tt.args, func(t *testing.T) {
			text, err := scripts.ReadFile("scripts/" + tt.script + ".sh")
			require.NoError(t, err)
			dir, log := fakeSystemctl(t)
			root := t.TempDir()
			run := func() {
				c := exec.CommandContext(t.Context(), "sh", append([]string{"-c", withUnits(string(text), units), "sh"}, strings.Fields(tt.args)...)...)
				c.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "DPKG_ROOT=" + root}
				out, err := c.CombinedOutput()
				require.NoError(t, err, string(out))
			}
			run()
			require.Empty(t, asked(t, log), "systemd does not run there")
			require.NoError(t, os.MkdirAll(filepath.Join(root, "run/systemd/system"), 0o755))
			run()
			require.Equal(t, tt.asks, asked(t, log))
		})
	}
}

// `wgfleet install` from an archive writes units for a program that is not the package's.
func TestRemovalLeavesAnotherProgramsUnits(t *testing.T) {
	text, err := scripts.ReadFile("scripts/preremove.sh")
	require.NoError(t, err)
	dir, log := fakeSystemctl(t)
	root := t.TempDir()
	units := filepath.Join(root, "etc/systemd/system")
	for _, d := range []string{units, filepath.Join(root, "run/systemd/system")} {
		require.NoError(t, os.MkdirAll(d, 0o755))
	}
	remove := func() []string {
		c := exec.CommandContext(t.Context(), "sh", "-c", withUnits(string(text), []item{{installed: unitDir + "/wgfleet.service"}}), "sh", "remove")
		c.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "DPKG_ROOT=" + root}
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		return asked(t, log)
	}
	unit := filepath.Join(units, "wgfleet.service")
	require.NoError(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/usr/local/bin/wgfleet serve\n"), 0o644))
	require.Empty(t, remove())
	require.NoError(t, os.WriteFile(unit, []byte("[Service]\nExecStart=/usr/bin/wgfleet serve --panel\n"), 0o644))
	require.Equal(t, []string{"disable --now wgfleet.service"}, remove())
}
