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
	raw  syscall.RawConn
	take func(fd uintptr) bool // drainLocked, made once: a closure for each Read would be garbage for each

	mu   sync.Mutex // held by Read, and protects what follows
	read [maxRead]byte
	cut  offload.Cutter
	to   batch
}

// batch is what one Read fills.
type batch struct {
	bufs      [][]byte
	sizes     []int
	offset, n int
	err       error
}

func drain(t tun.Device) (*drainedTUN, error) {
	raw, err := t.File().SyscallConn()
	if err != nil {
		return nil, err
	}
	d := &drainedTUN{Device: t, raw: raw}
	d.take = d.drainLocked
	return d, nil
}

// Read waits for a packet and takes along what waits behind it; see tun.Device.
func (t *drainedTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to = batch{bufs: bufs, sizes: sizes, offset: offset}
	if t.cutLocked(); t.to.n > 0 {
		return t.to.n, nil // of a large packet that did not fit the last batch
	}
	failed := t.raw.Read(t.take)
	switch {
	case t.to.n > 0:
		return t.to.n, nil // an error comes again at the next call
	case failed != nil, errors.Is(t.to.err, unix.EBADFD): // closed by us, or by who deleted the link
		return 0, os.ErrClosed
	}
	return 0, t.to.err
}

// drainLocked reads until nothing waits or the batch is full. False: nothing came yet, call it again when something did.
func (t *drainedTUN) drainLocked(fd uintptr) bool {
	for t.to.n < len(t.to.bufs) {
		size, err := unix.Read(int(fd), t.read[:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return t.to.n > 0
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.to.err = err
			return true
		}
		if t.cut.Begin(t.read[:size]) == nil { // else the packet is lost; upstream's Read fails, which ends the device
			t.cutLocked()
		}
	}
	return true
}

// cutLocked moves packets of the last read into the batch, as many as fit.
func (t *drainedTUN) cutLocked() {
	for t.to.n < len(t.to.bufs) && !t.cut.Empty() {
		if size := t.cut.Next(t.to.bufs[t.to.n][t.to.offset:]); size > 0 {
			t.to.sizes[t.to.n] = size
			t.to.n++
		}
	}
}
