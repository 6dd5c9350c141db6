package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// Interface is one that is live, or has a file, or both.
type Interface struct {
	Name     string `json:"name"`
	Up       bool   `json:"up"`
	Kind     string `json:"kind,omitempty"`      // kernel or userspace; of one that is up
	ServedBy string `json:"served_by,omitempty"` // the process behind a userspace one
	Peers    int    `json:"peers"`
	File     string `json:"file,omitempty"`
	Unit     string `json:"unit,omitempty"` // the wg-quick@ unit that is active or enabled, with its state
	Netdev   string `json:"netdev,omitempty"`

	server *process
}

// findInterfaces looks at everything that is called an interface here.
func (p *Plan) findInterfaces(ctx context.Context) error {
	names, err := p.o.Devices.Names(ctx)
	if err != nil {
		return fmt.Errorf("list the WireGuard interfaces: %w", err)
	}
	byName := map[string]*Interface{}
	for _, name := range names {
		i := &Interface{Name: name, Up: true}
		byName[name] = i
		if err := p.lookAt(ctx, i); err != nil {
			return err
		}
	}
	if err := p.readFiles(byName); err != nil {
		return err
	}
	for _, i := range byName {
		if err := p.whoBringsUp(ctx, i); err != nil {
			return err
		}
		p.Interfaces = append(p.Interfaces, *i)
	}
	slices.SortFunc(p.Interfaces, func(a, b Interface) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// lookAt reads a live interface and finds who serves it.
func (p *Plan) lookAt(ctx context.Context, i *Interface) error {
	peers, err := p.observe(ctx, i.Name)
	if err != nil {
		p.block("interface %s can't be read: %v: bring it up again, or delete it, before the host moves", i.Name, err)
		return nil
	}
	i.Peers = len(peers)
	uevent, err := os.ReadFile(p.o.at("/sys/class/net/" + i.Name + "/uevent"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a netstack device has no link
		return fmt.Errorf("look at interface %s: %w", i.Name, err)
	}
	if strings.Contains(string(uevent), "DEVTYPE=wireguard\n") {
		i.Kind = string(engine.KindKernel)
		return nil
	}
	i.Kind = "userspace"
	sockets, err := p.o.socketFiles("/wireguard/" + i.Name + ".sock")
	if err != nil {
		return err
	}
	if i.server, err = p.o.holder(sockets); err != nil {
		return err
	}
	if i.server != nil {
		i.ServedBy = i.server.String()
	}
	return nil
}

// observe reads the peers of a live interface.
func (p *Plan) observe(ctx context.Context, name string) ([]engine.Peer, error) {
	d, err := p.o.Devices.Attach(ctx, name)
	if err != nil {
		return nil, err
	}
	seen, err := d.Observe(ctx)
	return seen.Peers, err
}

// readFiles reads every file of the folder as wgfleet will.
func (p *Plan) readFiles(byName map[string]*Interface) error {
	paths, err := filepath.Glob(filepath.Join(p.o.at(confDir), "*.conf"))
	if err != nil {
		return fmt.Errorf("look for interfaces' files: %w", err)
	}
	for _, path := range paths {
		shown := filepath.Join(confDir, filepath.Base(path))
		name := strings.TrimSuffix(filepath.Base(path), ".conf")
		if err := engine.ValidateName(name); err != nil {
			p.warn("%s is passed over: %v", shown, err)
			continue
		}
		i := byName[name]
		if i == nil {
			i = &Interface{Name: name}
			byName[name] = i
		}
		i.File = shown
		peers, err := parseFile(path, shown)
		if err != nil {
			p.block("%v", err)
			continue
		}
		if !i.Up {
			i.Peers = peers
		}
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("look at %s: %w", shown, err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			p.warn("%s holds a private key and is open to others (%04o): chmod 600 %[1]s", shown, info.Mode().Perm())
		}
	}
	return nil
}

// parseFile counts the peers of a file; what is wrong with it is one sentence.
func parseFile(path, shown string) (peers int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	f, err := wgquick.Parse(text)
	if err == nil {
		f.Name = shown
		_, err = f.Interface()
	}
	var list []wgquick.Peer
	if err == nil {
		list, err = f.Peers()
	}
	if parse, ok := errors.AsType[*wgquick.ParseError](err); ok {
		parse.File = shown
		return 0, parse
	}
	return len(list), err
}

// quickUnit is the unit of wg-quick for an interface; not ok where no unit can have the name.
func quickUnit(name string) (unit string, ok bool) {
	return "wg-quick@" + name + ".service", !strings.ContainsAny(name, "=+")
}

// whoBringsUp looks for others that own the interface as well.
func (p *Plan) whoBringsUp(ctx context.Context, i *Interface) error {
	if unit, ok := quickUnit(i.Name); ok {
		state, err := p.state(ctx, unit)
		if err != nil {
			return err
		}
		if state.IsActive() || state.IsEnabled() {
			i.Unit = unit + " (" + state.Active + ", " + state.Enabled + ")"
		}
	}
	for _, dir := range []string{"/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network"} {
		paths, err := filepath.Glob(filepath.Join(p.o.at(dir), "*.netdev"))
		if err != nil {
			return fmt.Errorf("look for systemd-networkd's files: %w", err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("look at systemd-networkd's files: %w", err)
			}
			f := service{lines: parseUnit(string(text))}
			if slices.Contains(f.values("NetDev", "Name"), i.Name) && slices.Contains(f.values("NetDev", "Kind"), "wireguard") {
				i.Netdev = filepath.Join(dir, filepath.Base(path))
				p.warn("interface %s is made by systemd-networkd from %s, which puts its own peers back when it reloads", i.Name, i.Netdev)
			}
		}
	}
	if i.Up && i.File == "" {
		p.notice("interface %s has no file %s/%[1]s.conf: wgfleet keeps it in its own data folder", i.Name, confDir)
	}
	return nil
}
