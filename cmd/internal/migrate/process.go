package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// process is one that holds a socket.
type process struct {
	pid    int
	name   string
	cgroup string   // /proc/PID/cgroup
	places []string // working folder, program and arguments
}

func (p process) String() string { return fmt.Sprintf("%s (process %d)", p.name, p.pid) }

// of reports whether the process was started by a unit.
func (p process) of(unit string) bool {
	for line := range strings.SplitSeq(p.cgroup, "\n") {
		if slices.Contains(strings.Split(line, "/"), unit) {
			return true
		}
	}
	return false
}

// runsIn reports whether it works in a folder or runs something of it.
func (p process) runsIn(folders ...string) bool {
	return slices.ContainsFunc(p.places, func(place string) bool {
		return slices.ContainsFunc(folders, func(f string) bool { return mentions(place, f) })
	})
}

// listeners are the sockets that listen on a TCP port of any address here.
func (o Options) listeners(port int) ([]string, error) {
	const listens = "0A" // TCP_LISTEN of include/net/tcp_states.h
	suffix := fmt.Sprintf(":%04X", port)
	var inodes []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(o.at(table))
		if errors.Is(err, fs.ErrNotExist) { // a host without IPv6
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("see who listens on port %d: %w", port, err)
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == listens && strings.HasSuffix(f[1], suffix) {
				inodes = append(inodes, f[9])
			}
		}
	}
	return inodes, nil
}

// socketFiles are the sockets that processes opened under a path that ends so.
func (o Options) socketFiles(suffix string) ([]string, error) {
	text, err := os.ReadFile(o.at("/proc/net/unix"))
	if err != nil {
		return nil, fmt.Errorf("see who serves the interfaces: %w", err)
	}
	var inodes []string
	for line := range strings.SplitSeq(string(text), "\n") {
		// Num RefCount Protocol Flags Type St Inode Path
		if f := strings.Fields(line); len(f) == 8 && strings.HasSuffix(f[7], suffix) {
			inodes = append(inodes, f[6])
		}
	}
	return inodes, nil
}

// holder finds the process that has one of these sockets open; nil where none is seen.
func (o Options) holder(inodes []string) (*process, error) {
	if len(inodes) == 0 {
		return nil, nil //nolint:nilnil // nobody is an answer
	}
	names, err := filepath.Glob(o.at("/proc/[0-9]*/fd/*"))
	if err != nil {
		return nil, fmt.Errorf("look for a process: %w", err)
	}
	for _, name := range names {
		target, err := os.Readlink(name)
		if err != nil { // closed meanwhile, or its process has ended
			continue
		}
		inode, isSocket := strings.CutPrefix(strings.TrimSuffix(target, "]"), "socket:[")
		if isSocket && slices.Contains(inodes, inode) {
			return o.process(filepath.Dir(filepath.Dir(name)))
		}
	}
	return nil, nil //nolint:nilnil // nobody is an answer
}

func (o Options) process(dir string) (*process, error) {
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return nil, fmt.Errorf("look at a process: %w", err)
	}
	p := &process{pid: pid}
	for _, f := range []struct {
		name string
		to   func(string)
	}{
		{"comm", func(s string) { p.name = strings.TrimSpace(s) }},
		{"cgroup", func(s string) { p.cgroup = s }},
		{"cmdline", func(s string) { p.places = strings.Split(s, "\x00") }},
	} {
		text, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil {
			return nil, fmt.Errorf("look at process %d: %w", pid, err)
		}
		f.to(string(text))
	}
	for _, link := range []string{"cwd", "exe"} {
		if target, err := os.Readlink(filepath.Join(dir, link)); err == nil {
			p.places = append(p.places, target)
		}
	}
	return p, nil
}
