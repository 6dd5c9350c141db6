package link

import (
	"cmp"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// routing is what Config.Table says.
type routing struct {
	table int  // where the allowed IPs go; 0: nowhere
	auto  bool // default routes go to a table of their own, with rules that lead there
}

// tableDirs are where iproute2 looks for its files: the host's own first, then the distribution's,
// whose place depends on the release.
var tableDirs = []string{"etc/iproute2", "usr/share/iproute2", "usr/lib/iproute2"}

// parseTable reads a Table setting as wg-quick(8) does, and a name or number in it as ip-route(8)
// does. root is the host's file system.
func parseTable(root fs.FS, s string) (routing, error) {
	switch s {
	case "", "auto":
		return routing{table: unix.RT_TABLE_MAIN, auto: true}, nil
	case "off":
		return routing{}, nil
	}
	id, named := tableNames(root)[s]
	if !named {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			return routing{}, &engine.FieldError{Field: "table", Reason: fmt.Sprintf(
				"%.40q is no routing table: expected auto, off, a number, or a name from /etc/iproute2/rt_tables", s)}
		}
		id = int(n)
	}
	return routing{table: cmp.Or(id, unix.RT_TABLE_MAIN)}, nil // the kernel reads 0 as main
}

func tableNames(root fs.FS) map[string]int {
	names := map[string]int{"default": unix.RT_TABLE_DEFAULT, "main": unix.RT_TABLE_MAIN, "local": unix.RT_TABLE_LOCAL}
	for _, dir := range tableDirs {
		if readTables(root, dir+"/rt_tables", names) {
			break
		}
	}
	for _, dir := range tableDirs {
		more, _ := fs.Glob(root, dir+"/rt_tables.d/*.conf") // its only error is a bad pattern
		for _, file := range more {
			readTables(root, file, names)
		}
	}
	return names
}

// readTables adds the lines of a file, "NUMBER NAME" with comments from # on, and reports whether
// there is one. What it can't read it passes over, as iproute2 does.
func readTables(root fs.FS, file string, names map[string]int) bool {
	data, err := fs.ReadFile(root, file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if id, err := strconv.ParseUint(words[0], 0, 32); err == nil {
			names[words[1]] = int(id)
		}
	}
	return true
}
