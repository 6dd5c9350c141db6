package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// entry is what a reader of the format finds.
type entry struct {
	name, mode string
	content    string
}

func read(t *testing.T, b []byte) (all []entry) {
	t.Helper()
	const header = 6 + 13*8
	at := 0
	field := func(n int) int {
		v, err := strconv.ParseUint(string(b[at+6+8*n:at+14+8*n]), 16, 32)
		require.NoError(t, err)
		return int(v)
	}
	aligned := func(n int) int { return (n + 3) &^ 3 }
	for at < len(b) {
		require.Equal(t, "070701", string(b[at:at+6]))
		size, nameSize := field(6), field(11)
		name := strings.TrimSuffix(string(b[at+header:at+header+nameSize]), "\x00")
		start := aligned(at + header + nameSize)
		all = append(all, entry{name, strconv.FormatInt(int64(field(1)), 8), string(b[start : start+size])})
		at = aligned(start + size)
	}
	return all
}

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.dir("dev")
	a.charDevice("dev/console", 5, 1)
	a.file("odd", []byte("12345"))
	a.symlink("var/run", "/run")
	require.NoError(t, a.close())
	require.Equal(t, []entry{
		{"dev", "40755", ""},
		{"dev/console", "20600", ""},
		{"odd", "100755", "12345"},
		{"var/run", "120777", "/run"},
		{"TRAILER!!!", "0", ""},
	}, read(t, b.Bytes()))
}

func TestArchiveOfAFolder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/usr/bin", 0o755))
	require.NoError(t, os.WriteFile(dir+"/usr/bin/tool", []byte("tool"), 0o750))
	require.NoError(t, os.Symlink("usr/bin", dir+"/bin"))
	var b bytes.Buffer
	a := newArchive(&b)
	a.tree(dir)
	require.NoError(t, a.close())
	require.Equal(t, []entry{
		{"bin", "120777", "usr/bin"},
		{"usr", "40755", ""},
		{"usr/bin", "40755", ""},
		{"usr/bin/tool", "100750", "tool"},
		{"TRAILER!!!", "0", ""},
	}, read(t, b.Bytes()))
	a = newArchive(&b)
	a.tree(dir + "/none")
	require.ErrorContains(t, a.close(), "none")
}

func TestArchiveSaysWhatItCouldNotRead(t *testing.T) {
	a := newArchive(&bytes.Buffer{})
	a.hostFile("init", t.TempDir()+"/none")
	require.ErrorContains(t, a.close(), "none")
}
