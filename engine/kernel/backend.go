package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

// socketDir is where wgctrl and wg(8) look for userspace devices.
const socketDir = "/var/run/wireguard"

// linkType is what netlink calls the kernel's own WireGuard.
const linkType = "wireguard"

// defaultMTU is what wg-quick(8) uses on a path of 1500 bytes.
const defaultMTU = 1420

// Backend makes links of type wireguard, and attaches to whatever is live.
type Backend struct{}

var _ engine.Backend = (*Backend)(nil)

// New returns the backend. It holds nothing open.
func New() *Backend { return &Backend{} }

// Kind is engine.KindKernel.
func (*Backend) Kind() engine.Kind { return engine.KindKernel }

// Usable says in one sentence why Create cannot work here, or returns nil: it makes a link and
// deletes it. Attach may work nevertheless.
func (*Backend) Usable() error {
	l := newLink(fmt.Sprintf("wgfleet%d", os.Getpid()%1e8))
	if err := netlink.LinkAdd(l); err != nil {
		return linkError("make a link of type wireguard", err)
	}
	return linkError("delete a link", netlink.LinkDel(l))
}

func newLink(name string) netlink.Link {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return &netlink.Wireguard{LinkAttrs: a}
}

func linkError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: to %s needs CAP_NET_ADMIN", engine.ErrNotPermitted, what)
	case errors.Is(err, syscall.EOPNOTSUPP):
		return fmt.Errorf("cannot %s: the kernel has no wireguard module", what)
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("%w: cannot %s", engine.ErrInterfaceExists, what)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: cannot %s", engine.ErrPortInUse, what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Create makes a link and brings it up; see engine.Backend.
func (b *Backend) Create(ctx context.Context, i engine.Interface) (_ engine.Device, err error) {
	if err := engine.ValidateName(i.Name); err != nil {
		return nil, err
	}
	if err := engine.ValidateInterface(i); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create %s: %w", i.Name, err)
	}
	if i.MTU == 0 {
		i.MTU = defaultMTU
	}
	if answers(i.Name) {
		return nil, fmt.Errorf("%w: %s is served on a socket in %s", engine.ErrInterfaceExists, i.Name, socketDir)
	}
	if err := probe(i.Name, i.ListenPort); err != nil {
		return nil, err
	}
	if err := link.CheckAddresses(i.Name, i.Addresses); err != nil {
		return nil, err
	}
	if err := netlink.LinkAdd(newLink(i.Name)); err != nil {
		return nil, linkError("make link "+i.Name, err)
	}
	defer func() {
		if err != nil {
			_ = link.Delete(i.Name)
		}
	}()
	d := &Device{name: i.Name, kind: engine.KindKernel}
	if err := d.Configure(ctx, engine.Changes{Interface: &engine.InterfaceChange{After: i}}); err != nil {
		return nil, err
	}
	if err := link.Up(i.Name); err != nil {
		return nil, linkError("bring up "+i.Name, err)
	}
	return d, nil
}

// Attach returns whatever WireGuard interface of that name is live on the host.
func (b *Backend) Attach(_ context.Context, name string) (engine.Device, error) {
	if err := engine.ValidateName(name); err != nil {
		return nil, err
	}
	c, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", name, err)
	}
	defer func() { _ = c.Close() }()
	found, err := c.Device(name)
	if err != nil {
		return nil, deviceError("attach to", name, err)
	}
	d := &Device{name: name, kind: engine.KindKernel}
	if found.Type != wgtypes.LinuxKernel {
		d.kind = engine.KindUserspace
	}
	return d, nil
}

// Names lists the links of type wireguard and the sockets that answer, sorted. It asks none of them
// for its peers, and one that is broken does not hide the others.
func (b *Backend) Names(context.Context) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list links: %w", err)
	}
	names := []string{}
	for _, l := range links {
		if l.Type() == linkType {
			names = append(names, l.Attrs().Name)
		}
	}
	sockets, err := filepath.Glob(filepath.Join(socketDir, "*.sock"))
	if err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	for _, s := range sockets {
		if name := strings.TrimSuffix(filepath.Base(s), ".sock"); answers(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// answers reports whether a process serves the userspace device of that name.
func answers(name string) bool {
	c, err := net.Dial("unix", filepath.Join(socketDir, name+".sock"))
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// probe tries a port before an interface is told to use it; 0 is chosen by the interface.
func probe(name string, port uint16) error {
	if port == 0 {
		return nil
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return fmt.Errorf("%w: UDP port %d cannot be bound for %s", engine.ErrPortInUse, port, name)
	}
	return c.Close()
}

func deviceError(what, name string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: %s %s: it is no live WireGuard interface", engine.ErrUnknownInterface, what, name)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: to %s %s needs CAP_NET_ADMIN: %w", engine.ErrNotPermitted, what, name, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: %s %s", engine.ErrPortInUse, what, name)
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}
