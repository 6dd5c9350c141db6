package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
)

// unitDirs hold the units of the system, see systemd.unit(5); the first that has a name counts.
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/run/systemd/transient", "/run/systemd/generator",
	"/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// assignment is one line of a unit file.
type assignment struct{ section, key, value string }

// service is a unit with its drop-ins.
type service struct {
	name  string
	path  string // what enables it: its name, or the file elsewhere that it is linked to
	lines []assignment
}

// parseUnit reads the syntax of systemd.syntax(7). A line that ends in a backslash goes on in the
// next one, comments in between are passed over.
func parseUnit(text string) []assignment {
	var out []assignment
	var section, pending string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line != "" && (line[0] == '#' || line[0] == ';') {
			continue
		}
		if part, goesOn := strings.CutSuffix(line, `\`); goesOn {
			pending += part + " "
			continue
		}
		line, pending = pending+line, ""
		if strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]") {
			section = line[1 : len(line)-1]
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok {
			out = append(out, assignment{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return out
}

// values are those of a key; an empty one drops what came before it.
func (s service) values(section, key string) []string {
	var out []string
	for _, l := range s.lines {
		switch {
		case l.section != section || l.key != key:
		case l.value == "":
			out = nil
		default:
			out = append(out, l.value)
		}
	}
	return out
}

// runsIn reports whether the service runs something in a folder.
func (s service) runsIn(folders ...string) bool {
	lines := append(s.values("Service", "ExecStart"), s.values("Service", "WorkingDirectory")...)
	for _, line := range lines {
		if slices.ContainsFunc(folders, func(f string) bool { return mentions(line, f) }) {
			return true
		}
	}
	return false
}

// mentions reports whether a text holds the path of a folder or of something in it.
func mentions(text, folder string) bool {
	const between = " \t\"';&|:,="
	for rest := text; ; {
		before, after, found := strings.Cut(rest, folder)
		if !found {
			return false
		}
		// What can stand before a path in ExecStart= and WorkingDirectory=: see systemd.service(5).
		starts := before == "" || strings.IndexByte(between+"@-+!", before[len(before)-1]) >= 0
		ends := after == "" || strings.IndexByte(between+"/", after[0]) >= 0
		if starts && ends {
			return true
		}
		rest = after
	}
}

// services reads the services of the host. Templates, aliases and masked units are left out.
func (o Options) services() ([]service, error) {
	found := map[string]service{}
	masked := map[string]bool{}
	for _, dir := range unitDirs {
		entries, err := os.ReadDir(o.at(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for the old agent's unit: %w", err)
		}
		for _, e := range entries {
			name := e.Name()
			if _, have := found[name]; have || masked[name] || !strings.HasSuffix(name, ".service") || strings.Contains(name, "@") {
				continue
			}
			s, ok, err := o.service(filepath.Join(dir, name))
			if err != nil {
				return nil, err
			}
			if !ok {
				masked[name] = true
				continue
			}
			found[name] = s
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b service) int { return cmp.Compare(a.name, b.name) }), nil
}

// service reads one unit with its drop-ins; not ok for an alias, and for one that is masked or broken.
func (o Options) service(path string) (s service, ok bool, err error) {
	s = service{name: filepath.Base(path), path: filepath.Base(path)}
	if target, err := os.Readlink(o.at(path)); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		if filepath.Base(target) != s.name {
			return s, false, nil
		}
		path, s.path = target, target
	}
	text, err := os.ReadFile(o.at(path))
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("look for the old agent's unit: %w", err)
	}
	s.lines = parseUnit(string(text))
	dropIns, err := o.dropIns(s.name)
	s.lines = append(s.lines, dropIns...)
	return s, true, err
}

// dropIns reads NAME.d/*.conf of all folders, in the order of their names.
func (o Options) dropIns(name string) ([]assignment, error) {
	files := map[string]string{}
	for _, dir := range slices.Backward(unitDirs) {
		paths, err := filepath.Glob(filepath.Join(o.at(dir), name+".d", "*.conf"))
		if err != nil {
			return nil, fmt.Errorf("look for drop-ins of %s: %w", name, err)
		}
		for _, p := range paths {
			files[filepath.Base(p)] = p
		}
	}
	var out []assignment
	for _, base := range slices.Sorted(maps.Keys(files)) {
		text, err := os.ReadFile(files[base])
		if err != nil {
			return nil, fmt.Errorf("read a drop-in of %s: %w", name, err)
		}
		out = append(out, parseUnit(string(text))...)
	}
	return out, nil
}

// environ is what the service is started with, and what is odd about it.
func (o Options) environ(s service) (env systemd.Environment, problems []string) {
	for _, line := range s.values("Service", "Environment") {
		for _, word := range splitWords(line) {
			name, value, _ := strings.Cut(word, "=")
			if strings.Contains(strings.ReplaceAll(value, "%%", ""), "%") && slices.Contains(variables, name) {
				problems = append(problems, fmt.Sprintf("%s of %s holds a %% that systemd replaces: write its value out", name, s.name))
			}
			env.Set(name, strings.ReplaceAll(value, "%%", "%"))
		}
	}
	for _, path := range s.values("Service", "EnvironmentFile") {
		path, optional := strings.CutPrefix(path, "-")
		text, err := os.ReadFile(o.at(path))
		switch {
		case err == nil:
			for _, kv := range systemd.ParseEnvironment(string(text)) {
				name, value, _ := strings.Cut(kv, "=")
				env.Set(name, value)
			}
		case !optional || !errors.Is(err, fs.ErrNotExist):
			problems = append(problems, fmt.Sprintf("the EnvironmentFile %s of %s can't be read: mend the unit", path, s.name))
		}
	}
	return env, problems
}
