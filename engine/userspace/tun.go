package userspace

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

const tunPath = "/dev/net/tun"

// NewTUN returns the backend that makes TUN interfaces of the host. It needs CAP_NET_ADMIN.
func NewTUN(o Options) *Backend {
	if o.UAPIDir == "" {
		o.UAPIDir = DefaultUAPIDir
	}
	b := newBackend(engine.KindTUN, o)
	b.usable = tunUsable
	b.open = openTUN
	return b
}

// tunUsable makes an interface, whose name the kernel chooses, and lets it go.
func tunUsable() error {
	f, err := tunFile("wgfleet%d")
	if err != nil {
		return err
	}
	return f.Close()
}

// tunCarrier is a TUN interface.
type tunCarrier struct {
	tun  tun.Device
	want engine.Interface
}

func openTUN(i engine.Interface) (carrier, error) {
	taken, err := link.Exists(i.Name)
	if err != nil {
		return nil, err
	}
	if taken {
		return nil, fmt.Errorf("%w: the host has a link %s", engine.ErrInterfaceExists, i.Name)
	}
	if err := link.CheckAddresses(i.Name, i.Addresses); err != nil {
		return nil, err
	}
	f, err := tunFile(i.Name)
	if err != nil {
		return nil, err
	}
	t, err := tun.CreateTUNFromFile(f, i.MTU)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("make a TUN interface: %w", err)
	}
	quick, err := drain(t)
	if err != nil {
		return nil, fmt.Errorf("make a TUN interface: %w", errors.Join(err, t.Close()))
	}
	return &tunCarrier{tun: quick, want: i}, nil
}

// tunFile opens an interface as tun.CreateTUN does, which leaves the file open when it fails. The
// interface goes when the file is closed.
func tunFile(name string) (*os.File, error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, tunError("open "+tunPath, err)
	}
	r, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, tunError("name a TUN interface", err)
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		unix.Close(fd)
		return nil, tunError("make a TUN interface", err)
	}
	return os.NewFile(uintptr(fd), tunPath), nil
}

func tunError(what string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: to %s needs CAP_NET_ADMIN: %w", engine.ErrNotPermitted, what, err)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %s: %w", engine.ErrInterfaceExists, what, err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s is not there: the kernel has no TUN driver, or the container was not given the device", tunPath)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (c *tunCarrier) device() tun.Device { return c.tun }
func (c *tunCarrier) net() *netstack.Net { return nil }

// gateway is none: the host's kernel forwards.
func (c *tunCarrier) gateway() *gateway.Gateway { return nil }

func (c *tunCarrier) start() error {
	if err := link.Up(c.want.Name); err != nil {
		return err
	}
	return link.SetAddresses(c.want.Name, c.want.Addresses)
}

func (c *tunCarrier) check(before, after engine.Interface) error {
	if sameAddresses(before, after) {
		return nil
	}
	return link.CheckAddresses(c.want.Name, after.Addresses)
}

func (c *tunCarrier) change(before, after engine.Interface) error {
	if after.MTU == 0 {
		after.MTU = device.DefaultMTU
	}
	if after.MTU != before.MTU {
		if err := link.SetMTU(c.want.Name, after.MTU); err != nil {
			return err
		}
	}
	if sameAddresses(before, after) {
		return nil
	}
	return link.SetAddresses(c.want.Name, after.Addresses)
}

func sameAddresses(a, b engine.Interface) bool {
	return slices.Equal(engine.NormalizeAddresses(a.Addresses), engine.NormalizeAddresses(b.Addresses))
}

func (c *tunCarrier) read(i *engine.Interface) error {
	s, err := link.Read(c.want.Name)
	i.Addresses, i.MTU = s.Addresses, s.MTU
	return err
}
