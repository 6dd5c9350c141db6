package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File types of stat(2), in the mode field.
const (
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeRegular = 0o100000
	typeLink    = 0o120000
)

// archive writes a cpio archive in the "newc" format of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst. The first error stays.
type archive struct {
	w      *bufio.Writer
	inode  int
	length int
	err    error
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriter(w)} }

func (a *archive) dir(name string) { a.entry(name, typeDir|0o755, 0, 0, nil) }

func (a *archive) symlink(name, target string) {
	a.entry(name, typeLink|0o777, 0, 0, []byte(target))
}

func (a *archive) charDevice(name string, major, minor int) {
	a.entry(name, typeChar|0o600, major, minor, nil)
}

func (a *archive) file(name string, content []byte) {
	a.entry(name, typeRegular|0o755, 0, 0, content)
}

func (a *archive) hostFile(name, path string) {
	b, err := os.ReadFile(path)
	if err != nil && a.err == nil {
		a.err = err
	}
	a.file(name, b)
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

// tree puts everything below a folder of the host where it lies there; root owns it here.
func (a *archive) tree(folder string) {
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, perm := strings.TrimPrefix(path, folder+"/"), int(info.Mode().Perm())
		switch info.Mode().Type() {
		case fs.ModeDir:
			a.entry(name, typeDir|perm, 0, 0, nil)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			a.symlink(name, target)
		case 0:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			a.entry(name, typeRegular|perm, 0, 0, content)
		default:
			return fmt.Errorf("%s is neither file, folder nor symbolic link", path)
		}
		return nil
	})
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) entry(name string, mode, major, minor int, content []byte) {
	a.inode++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, maj, min, rmaj, rmin, namesize, chksum
	a.put(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0))
	a.put([]byte(name + "\x00"))
	a.pad()
	a.put(content)
	a.pad()
}

func (a *archive) put(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
	}
	a.length += len(b)
}

func (a *archive) pad() { a.put(make([]byte, -a.length&3)) }
