package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
)

// The sysctls that make a host a router.
const (
	forwardIPv4 = "net/ipv4/ip_forward"
	forwardIPv6 = "net/ipv6/conf/all/forwarding"
)

// forwarding is what our interfaces need of these sysctls and how the host had them. It lies in
// Options.RunDir, so that any process can put them back, and is gone with a boot as they are.
type forwarding struct {
	Needs  map[string][]string `json:"needs"`  // the switches by interface
	Before map[string][]sysctl `json:"before"` // by switch that we turned on: what to put back, in this order
}

type sysctl struct {
	Name   string `json:"name"` // below /proc/sys
	Before string `json:"before"`
	Ours   string `json:"ours,omitempty"` // empty: the kernel changes it along with the switch
}

// needForwarding sees to it that the switches are on that an interface needs, and those off that we
// turned on and none needs any more.
func (h *Host) needForwarding(ifname string, switches []string) error {
	dir := filepath.Join(h.o.RunDir, "forward")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && len(switches) == 0 {
		return nil
	}
	unlock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(dir, "state.json")
	f, err := readForwarding(path)
	if err != nil {
		return err
	}
	if f.Needs[ifname] = switches; len(switches) == 0 {
		delete(f.Needs, ifname)
	}
	for other := range f.Needs { // a process that was killed takes none down
		if exists, err := Exists(other); err == nil && !exists && other != ifname {
			delete(f.Needs, other)
		}
	}
	var errs []error
	for _, name := range []string{forwardIPv4, forwardIPv6} {
		if f.needed(name) {
			errs = append(errs, f.turnOn(name, path))
		} else {
			errs = append(errs, f.putBack(name))
		}
	}
	return errors.Join(append(errs, f.save(path))...)
}

func (f *forwarding) needed(name string) bool {
	for _, switches := range f.Needs {
		if slices.Contains(switches, name) {
			return true
		}
	}
	return false
}

// turnOn turns a switch on that is off. What was before is on the disk first.
func (f *forwarding) turnOn(name, path string) error {
	value, err := readSysctl(name)
	if name == forwardIPv6 && errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
		return nil
	}
	if err != nil || value != "0" {
		return err
	}
	before, err := surroundings(name)
	if err != nil {
		return err
	}
	for _, s := range f.Before[name] {
		if !slices.ContainsFunc(before, func(t sysctl) bool { return t.Name == s.Name }) {
			before = append(before, s)
		}
	}
	f.Before[name] = before
	if err := f.save(path); err != nil {
		return err
	}
	for _, s := range slices.Backward(before) { // the guards first, the switch last
		if s.Ours != "" {
			if err := writeSysctl(s.Name, s.Ours); err != nil {
				return err
			}
		}
	}
	return nil
}

// surroundings are a switch that is off, what the kernel changes along with it, and the guards that
// keep the host's own network: with forwarding on, the kernel forgets the default routes that routers
// advertised, but for links with accept_ra=2.
func surroundings(name string) ([]sysctl, error) {
	out := []sysctl{{Name: name, Before: "0", Ours: "1"}}
	along := []string{"net/ipv4/conf/*/forwarding", "net/ipv4/conf/all/accept_redirects"}
	if name == forwardIPv6 {
		along = []string{"net/ipv6/conf/*/forwarding"}
	}
	for _, pattern := range along {
		paths, err := filepath.Glob(procSys + pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			s := sysctl{Name: strings.TrimPrefix(path, procSys)}
			if s.Before, err = readSysctl(s.Name); err == nil && (s.Before != "0" || !strings.HasSuffix(path, "/forwarding")) {
				out = append(out, s)
			}
		}
	}
	if name != forwardIPv6 {
		return out, nil
	}
	links, err := advertised()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		guard := sysctl{Name: "net/ipv6/conf/" + link + "/accept_ra", Before: "1", Ours: "2"}
		if value, err := readSysctl(guard.Name); err == nil && value == guard.Before { // 0: not the kernel's business
			out = append(out, guard)
		}
	}
	return out, nil
}

// advertised names the links with a default route that a router advertised.
func advertised() ([]string, error) {
	filter := &netlink.Route{Protocol: unix.RTPROT_RA, Table: unix.RT_TABLE_UNSPEC}
	all, err := whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V6, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("read the routes that routers advertised: %w", err)
	}
	var names []string
	for _, r := range all {
		if p, ok := prefix(r.Dst); ok && p.Bits() > 0 {
			continue
		}
		indexes := []int{r.LinkIndex}
		for _, hop := range r.MultiPath {
			indexes = append(indexes, hop.LinkIndex)
		}
		for _, index := range indexes {
			if l, err := netlink.LinkByIndex(index); err == nil && !slices.Contains(names, l.Attrs().Name) {
				names = append(names, l.Attrs().Name)
			}
		}
	}
	return names, nil
}

// putBack turns a switch off that we turned on. A value that somebody changed since stays.
func (f *forwarding) putBack(name string) error {
	var errs []error
	for _, s := range f.Before[name] {
		value, err := readSysctl(s.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went with its link
		case err != nil:
			errs = append(errs, err)
		case value == s.Before || s.Ours != "" && value != s.Ours:
		default:
			errs = append(errs, writeSysctl(s.Name, s.Before))
		}
	}
	delete(f.Before, name)
	return errors.Join(errs...)
}

func readForwarding(path string) (*forwarding, error) {
	f := &forwarding{}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, f)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how forwarding was before (%s): %w", path, err)
	}
	if f.Needs == nil {
		f.Needs = make(map[string][]string)
	}
	if f.Before == nil {
		f.Before = make(map[string][]sysctl)
	}
	return f, nil
}

func (f *forwarding) save(path string) error {
	var err error
	if len(f.Needs) == 0 && len(f.Before) == 0 {
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	} else {
		var data []byte
		if data, err = json.Marshal(f); err == nil {
			err = os.WriteFile(path+".new", data, 0o600)
		}
		if err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		return fmt.Errorf("keep how forwarding was before: %w", err)
	}
	return nil
}

// lockFolder makes the folder and keeps other processes and goroutines out of it until unlock.
func lockFolder(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for the state of forwarding: %w", err)
	}
	file, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the state of forwarding: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock the state of forwarding: %w", err)
	}
	return func() { file.Close() }, nil
}

const procSys = "/proc/sys/"

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(procSys + name)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", sysctlName(name), err)
	}
	return strings.TrimSpace(string(data)), nil
}

func writeSysctl(name, value string) error {
	file, err := os.OpenFile(procSys+name, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(value)
		err = errors.Join(err, file.Close())
	}
	setting := sysctlName(name) + "=" + value
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("set %s: /proc/sys is read-only here: set it where this container is started (--sysctl %s): %w", setting, setting, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: to set %s needs CAP_NET_ADMIN: %w", engine.ErrNotPermitted, setting, err)
	}
	return fmt.Errorf("set %s: %w", setting, err)
}

// sysctlName is the name as sysctl(8) takes it: the dots of a link's name become slashes.
func sysctlName(path string) string {
	return strings.NewReplacer("/", ".", ".", "/").Replace(path)
}
