package userspace

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/wgfleet/wgfleet/engine/offload"
)

// maxRead is the largest packet with its virtio_net_hdr.
const maxRead = offload.HeaderSize + 65535

// drainedTUN is wireguard-go's TUN device but for Read, which takes all packets that wait, up to the batch, and not one:
// where they are small, a batch is what makes the rest of wireguard-go quick.
type drainedTUN struct {
	tun.Device
	raw syscall.RawConn

	mu   sync.Mutex // held by Read, and protects what follows
	read [maxRead]byte
	cut  offload.Cutter
}

func drain(t tun.Device) (*drainedTUN, error) {
	raw, err := t.File().SyscallConn()
	if err != nil {
		return nil, err
	}
	return &drainedTUN{Device: t, raw: raw}, nil
}

// Read waits for a packet and takes along what waits behind it; see tun.Device.
func (t *drainedTUN) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := func() {
		for n < len(bufs) && !t.cut.Empty() {
			if size := t.cut.Next(bufs[n][offset:]); size > 0 {
				sizes[n] = size
				n++
			}
		}
	}
	if next(); n > 0 {
		return n, nil // of a large packet that did not fit the last batch
	}
	failed := t.raw.Read(func(fd uintptr) bool {
		for n < len(bufs) {
			size, now := unix.Read(int(fd), t.read[:])
			switch {
			case errors.Is(now, unix.EAGAIN):
				return n > 0 // else it waits, and comes again
			case errors.Is(now, unix.EINTR):
				continue
			case now != nil:
				err = now
				return true
			}
			if t.cut.Begin(t.read[:size]) == nil { // else the packet is lost, as upstream's would be
				next()
			}
		}
		return true
	})
	switch {
	case n > 0:
		return n, nil // an error comes again at the next call
	case failed != nil, errors.Is(err, unix.EBADFD): // closed by us, or by who deleted the link
		return 0, os.ErrClosed
	}
	return 0, err
}
