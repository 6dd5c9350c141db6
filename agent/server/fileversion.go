package server

import (
	"io/fs"
	"os"
	"time"
)

// clockStep is more than any clock that stamps files moves by at a time.
const clockStep = 2 * time.Second

// fileVersion tells, without reading a file, whether it is still the one that was read. The zero
// value is no file's.
type fileVersion struct {
	info fs.FileInfo
}

// versionOf must be asked before the file is read. The error is that of os.Stat.
func versionOf(path string) (fileVersion, error) {
	info, err := os.Stat(path)
	return fileVersion{info}, err
}

func (v fileVersion) same(o fileVersion) bool {
	return v.info != nil && o.info != nil && os.SameFile(v.info, o.info) &&
		v.info.Size() == o.info.Size() && v.info.ModTime().Equal(o.info.ModTime())
}

// settled reports whether a later change of the file will show: a file that was written just now may
// be written again without its time moving.
func (v fileVersion) settled(now time.Time) bool {
	return v.info != nil && now.Sub(v.info.ModTime()).Abs() > clockStep
}
