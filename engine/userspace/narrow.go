package userspace

import (
	"errors"
	"syscall"

	"golang.zx2c4.com/wireguard/conn"
)

// narrowBind sends over links that carry less than a packet of the tunnel. The kernel cuts such a datagram into
// fragments, but refuses several that are handed over as one (udp(7), UDP_SEGMENT): these go out one by one.
type narrowBind struct {
	conn.Bind
}

// Send sends datagrams; see conn.Bind. Some may go out twice, which WireGuard's peer does not mind.
func (b narrowBind) Send(bufs [][]byte, to conn.Endpoint) error {
	err := b.Bind.Send(bufs, to)
	if len(bufs) < 2 || !errors.Is(err, syscall.EMSGSIZE) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	err = nil
	for i := range bufs {
		err = errors.Join(err, b.Bind.Send(bufs[i:i+1], to))
	}
	return err
}
