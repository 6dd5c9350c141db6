package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// module is one .ko file. Names are written with "_", as in /proc/modules; files and dependencies
// mix that with "-".
type module struct {
	name    string
	file    string
	depends func() ([]string, error)
}

func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// findModules lists what lies below a folder, by name.
func findModules(tree string) (map[string]module, error) {
	all := map[string]module{}
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, is := strings.CutSuffix(d.Name(), ".ko"); is {
			name = moduleName(name)
			all[name] = module{name, path, func() ([]string, error) { return dependsOf(path) }}
		}
		return nil
	})
	return all, err
}

// dependsOf reads "depends=a,b" of the section .modinfo.
func dependsOf(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("%s: no kernel module", path)
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for line := range strings.SplitSeq(string(info), "\x00") {
		if list, is := strings.CutPrefix(line, "depends="); is && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// loadOrder returns the modules of these names and all that they depend on, each after what it needs.
func loadOrder(all map[string]module, names []string) ([]module, error) {
	var order []module
	const begun, done = 1, 2
	state := map[string]int{}
	var visit func(name, by string) error
	visit = func(name, by string) error {
		name = moduleName(name)
		m, ok := all[name]
		switch {
		case !ok:
			return fmt.Errorf("the kernel has no module %s, needed by %s", name, by)
		case state[name] == begun:
			return fmt.Errorf("module %s needs itself", name)
		case state[name] == done:
			return nil
		}
		state[name] = begun
		needs, err := m.depends()
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := visit(n, name); err != nil {
				return err
			}
		}
		state[name] = done
		order = append(order, m)
		return nil
	}
	for _, name := range names {
		if err := visit(name, "the tests"); err != nil {
			return nil, err
		}
	}
	return order, nil
}
