package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Plan is what /init reads from /plan.json.
type Plan struct {
	Modules  []string   // files, in the order of loading
	Programs [][]string // each with its arguments, one after the other
	Boot     string     // what takes the place of /init instead
}

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	f := flag.NewFlagSet("vm", flag.ContinueOnError)
	f.SetOutput(stderr)
	out := f.String("out", "", "the initramfs `file` to write")
	initFile := f.String("init", "", "the static `program` that becomes /init")
	tree := f.String("modules-in", "", "the `folder` of the kernel's modules, searched whole")
	names := f.String("modules", "", "the modules that are needed, `a,b,c`; what they depend on comes too")
	root := f.String("root", "", "a `folder` whose content becomes the root file system")
	boot := f.String("boot", "", "the `path` in it of the program that becomes process 1 once the modules are loaded")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *out == "" || *initFile == "" || *tree == "" || (f.NArg() == 0) == (*boot == "") {
		return errors.New("usage: vm -out FILE -init PROGRAM -modules-in FOLDER -modules a,b {'PROGRAM ARGUMENT…' … | -root FOLDER -boot PATH}")
	}
	modules, err := findModules(*tree)
	if err != nil {
		return err
	}
	order, err := loadOrder(modules, strings.Split(*names, ","))
	if err != nil {
		return err
	}
	return write(*out, *initFile, *root, Plan{Boot: *boot}, order, f.Args())
}

// write makes the initramfs. Each of programs is a line of a file of the host and its arguments.
func write(out, initFile, root string, plan Plan, modules []module, programs []string) error {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "run", "var", "etc", "modules", "programs"} {
		a.dir(dir)
	}
	a.symlink("var/run", "/run")
	a.charDevice("dev/console", 5, 1)
	a.hostFile("init", initFile)
	if root != "" {
		a.tree(filepath.Clean(root))
	}
	for _, m := range modules {
		plan.Modules = append(plan.Modules, "/modules/"+m.name)
		a.hostFile("modules/"+m.name, m.file)
	}
	for _, line := range programs {
		words := strings.Fields(line)
		name := "programs/" + filepath.Base(words[0])
		a.hostFile(name, words[0])
		plan.Programs = append(plan.Programs, append([]string{"/" + name}, words[1:]...))
	}
	b, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	a.file("plan.json", b)
	if err := a.close(); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return f.Close()
}
