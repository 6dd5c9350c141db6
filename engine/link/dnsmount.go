package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// Where nothing manages the resolver's file, one of ours is mounted over it: it is never written to,
// and is there again when the mount is gone. There is one file for all interfaces, since of mounts
// that lie upon each other only the last can go: it says what the interface says that came last.
// Its content changes in place; what is mounted can't be replaced.

func (h *Host) boundFile() string { return filepath.Join(h.o.RunDir, "resolv.conf") }

// bound reports whether programs see our file as the resolver's.
func (h *Host) bound() bool {
	target, err := filepath.EvalSymlinks(h.o.ResolvConf)
	if err != nil {
		return false
	}
	mounts, err := readMounts()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(mounts.of(h.boundFile()), func(m mount) bool {
		return m.point == target && !m.deleted && m.onTop()
	})
}

// bindDNS shows the record that came last in place of the resolver's file. The caller holds dnsMu.
func (h *Host) bindDNS(c Config) error {
	h.logDNS(c, "a file mounted over "+h.o.ResolvConf)
	if err := h.fillBound(); err != nil {
		return fmt.Errorf("write %s: %w", h.boundFile(), err)
	}
	if h.bound() {
		return nil
	}
	if _, err := h.unmountBound(); err != nil { // over what was the resolver's file once
		return err
	}
	target, err := resolverFile(h.o.ResolvConf)
	if err != nil {
		return fmt.Errorf("find the file of the resolver: %w", err)
	}
	return bind(h.boundFile(), target)
}

// resolverFile is the file that programs open in the end. Where there is none, an empty one is made,
// which means the same to them.
func resolverFile(name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	f.Close()
	return filepath.EvalSymlinks(name)
}

func bind(file, target string) error {
	// On a host with SELinux, who may read the one must be able to read the other.
	label := make([]byte, 256)
	if n, err := unix.Getxattr(target, "security.selinux", label); err == nil {
		_ = unix.Setxattr(file, "security.selinux", label[:n], 0)
	}
	err := unix.Mount(file, target, "", unix.MS_BIND, "")
	if err == nil {
		// A DHCP client that writes to it would bring other servers in, and lose its own.
		err = unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	return mountFailed("mount a file over", target, err)
}

// fillBound writes the last record to our file, in one piece for who reads it meanwhile.
func (h *Host) fillBound() error {
	records, err := h.dnsRecords()
	if err != nil || len(records) == 0 {
		return err
	}
	text, err := os.ReadFile(records[len(records)-1].path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(h.boundFile(), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil { // whatever the umask: every user resolves names
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := int64(len(text))
	for int64(len(text)) < info.Size() {
		text = append(text, '\n') // over all of the old text, until it is cut
	}
	if _, err := f.WriteAt(text, 0); err != nil {
		return err
	}
	return f.Truncate(size)
}

// unbindDNS shows the record that came last of those that are left, or the host's own file. The caller
// holds dnsMu.
func (h *Host) unbindDNS(c Config) error {
	records, err := h.dnsRecords()
	if err != nil {
		return err
	}
	if len(records) > 0 {
		if !h.bound() {
			return nil
		}
		return h.fillBound()
	}
	covered, err := h.unmountBound()
	if err != nil {
		return err
	}
	if covered != "" {
		return fmt.Errorf("another program has mounted something over the resolver's file of %[1]s: umount %[2]s once, then take %[1]s down again", c.Interface, covered)
	}
	if err := os.Remove(h.boundFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// unmountBound unmounts our file wherever it is on top, and returns a path where it stays because
// somebody else's mount lies above.
func (h *Host) unmountBound() (covered string, err error) {
	for {
		mounts, err := readMounts()
		if err != nil {
			return "", err
		}
		top := ""
		covered = ""
		for _, m := range mounts.of(h.boundFile()) {
			if m.onTop() {
				top = m.point
			} else {
				covered = m.point
			}
		}
		if top == "" {
			return covered, nil
		}
		// Detached, since programs may have it open.
		if err := unix.Unmount(top, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return "", mountFailed("unmount", top, err)
		}
	}
}

func mountFailed(what, target string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: to %s %s needs CAP_SYS_ADMIN; run systemd-resolved or install resolvconf, or take DNS out of the interface's file: %w",
			engine.ErrNotPermitted, what, target, err)
	}
	return fmt.Errorf("%s %s: %w", what, target, err)
}
