package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file in the store's folder whose flock says that a process uses the store. The engine has a lock
// of its own, but tells only by the text of an error when it is taken.
const lockName = "wgfleet.lock"

// minFree is what the disk must have left before a commit, in bytes. The engine writes through memory maps of
// sparse files: on a full disk that is a SIGBUS, which ends the process and with it the node's data plane.
const minFree = 128 << 20

// claimFolder makes the folder, closes it to others and locks it until the file is closed.
func claimFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close the store's folder to others: %w", err)
	}
	if err := syncFolder(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store's folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w %s", ErrLocked, dir)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// freeBytes tells what the disk of a folder has left for us.
func freeBytes(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	if st.Blocks == 0 { // a file system that keeps no count
		return math.MaxUint64, nil
	}
	return st.Bavail * uint64(st.Bsize), nil
}
