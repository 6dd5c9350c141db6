package link

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is a line of /proc/self/mountinfo, see proc_pid_mountinfo(5).
type mount struct {
	id      string
	device  string // of the filesystem
	root    string // what of the filesystem is mounted
	deleted bool   // and was unlinked since
	point   string
}

type mountTable []mount

func readMounts() (mountTable, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseMounts(f)
}

func parseMounts(r io.Reader) (mountTable, error) {
	var out mountTable
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // an overlay may name many folders
	for lines.Scan() {
		w := strings.Split(lines.Text(), " ")
		if len(w) < 5 {
			continue
		}
		root, deleted := strings.CutSuffix(unescape(w[3]), "//deleted")
		out = append(out, mount{id: w[0], device: w[2], root: root, deleted: deleted, point: unescape(w[4])})
	}
	return out, lines.Err()
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// unescape puts the characters back that the kernel writes as \ and three octal digits.
func unescape(s string) string {
	return octal.ReplaceAllStringFunc(s, func(e string) string {
		n, err := strconv.ParseUint(e[1:], 8, 8)
		if err != nil {
			return e
		}
		return string([]byte{byte(n)})
	})
}

// of lists the mounts that make the file of that path visible, be it that it was unlinked since.
func (t mountTable) of(file string) []mount {
	dir := filepath.Dir(file)
	if direct, err := filepath.EvalSymlinks(dir); err == nil {
		dir = direct
	}
	device, root := t.origin(filepath.Join(dir, filepath.Base(file)))
	var out []mount
	for _, m := range t {
		if m.device == device && m.root == root {
			out = append(out, m)
		}
	}
	return out
}

// origin says of which filesystem a path is, and its path there.
func (t mountTable) origin(path string) (device, root string) {
	best := -1
	for _, m := range t {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(m.point, "/"))
		if ok && (rest == "" || rest[0] == '/') && len(m.point) >= best { // the later lies above
			best, device, root = len(m.point), m.device, filepath.Join(m.root, rest)
		}
	}
	return device, root
}

// onTop reports whether a mount is what its path leads to: nothing lies above it or above a folder on
// the way.
func (m mount) onTop() bool { return mountAt(m.point) == m.id }

// mountAt is the id of the mount that a path leads to; "" where it can't be known.
func mountAt(path string) string {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(info)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id)
		}
	}
	return ""
}
