package userspace

import (
	"errors"
	"fmt"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/wgfleet/wgfleet/engine"
)

// probe finds out whether a port can be bound and a mark be set, on sockets of its own. A port
// that cannot be bound would leave wireguard-go with no socket at all. Zero: not asked for.
func probe(newBind func() conn.Bind, name string, port uint16, mark uint32) error {
	if port == 0 && mark == 0 {
		return nil
	}
	b := newBind()
	if _, _, err := b.Open(port); err != nil {
		return portError(name, port, err)
	}
	defer b.Close()
	if mark == 0 {
		return nil
	}
	if err := b.SetMark(mark); err != nil {
		if errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("%w: the fwmark of %s needs CAP_NET_ADMIN", engine.ErrNotPermitted, name)
		}
		return fmt.Errorf("set the fwmark of %s: %w", name, err)
	}
	return nil
}

func portError(name string, port uint16, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: UDP port %d cannot be bound for %s", engine.ErrPortInUse, port, name)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: UDP port %d of %s needs CAP_NET_BIND_SERVICE", engine.ErrNotPermitted, port, name)
	}
	return err
}
