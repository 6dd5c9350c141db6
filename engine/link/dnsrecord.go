package link

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A dnsRecord says that an interface gave servers to the resolver, to a later process that has to
// take them back, whatever the interface's file says by then. It is a file named NUMBER.INTERFACE,
// the last to come with the highest number, that holds what a bound file shows.
type dnsRecord struct {
	number int
	ifname string
	path   string
}

func (h *Host) dnsDir() string { return filepath.Join(h.o.RunDir, "dns") }

// dnsRecords are in the order in which the interfaces came.
func (h *Host) dnsRecords() ([]dnsRecord, error) {
	files, err := os.ReadDir(h.dnsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []dnsRecord
	for _, f := range files { // sorted by name
		number, ifname, ok := strings.Cut(f.Name(), ".")
		if n, err := strconv.Atoi(number); ok && err == nil {
			out = append(out, dnsRecord{n, ifname, filepath.Join(h.dnsDir(), f.Name())})
		}
	}
	return out, err
}

// recordDNS makes the interface the last to come, unless its record says the same already. The caller
// holds dnsMu.
func (h *Host) recordDNS(c Config) error {
	const header = "# Made by wgfleet: the DNS of interface %[1]s, while it is up. The host's own file is below\n" +
		"# this one as it was. It shows again when %[1]s goes down, or after: umount %[2]s\n"
	text := fmt.Appendf(nil, header, c.Interface, h.o.ResolvConf)
	text = append(text, resolvLines(c)...)
	records, err := h.dnsRecords()
	if err != nil {
		return err
	}
	next := 1
	for _, r := range records {
		next = r.number + 1
		if r.ifname != c.Interface {
			continue
		}
		if old, err := os.ReadFile(r.path); err == nil && bytes.Equal(old, text) {
			return nil
		}
	}
	if err := os.MkdirAll(h.dnsDir(), 0o755); err != nil {
		return err
	}
	half := filepath.Join(h.dnsDir(), "half") // no record: it has no number
	if err := os.WriteFile(half, text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(half, filepath.Join(h.dnsDir(), fmt.Sprintf("%09d.%s", next, c.Interface))); err != nil {
		return err
	}
	return remove(records, c.Interface)
}

// forgetDNS reports whether there was a record. The caller holds dnsMu.
func (h *Host) forgetDNS(ifname string) (bool, error) {
	records, err := h.dnsRecords()
	if err != nil {
		return false, err
	}
	found := slices.ContainsFunc(records, func(r dnsRecord) bool { return r.ifname == ifname })
	return found, remove(records, ifname)
}

// remove goes through all: a process that was killed while it changed a record left the old one.
func remove(records []dnsRecord, ifname string) error {
	var errs []error
	for _, r := range records {
		if r.ifname == ifname {
			errs = append(errs, os.Remove(r.path))
		}
	}
	return errors.Join(errs...)
}
