package netstack

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// reader is what Read keeps between two calls.
type reader struct {
	mu    sync.Mutex // held by Read, also while it waits, and protects what follows
	taken [batchSize]*stack.PacketBuffer
	next  int // of taken
	count int
	cut   segmenter // of the packet that is being cut; its packet is nil where there is none
}

// Read fills as many buffers as packets wait, and waits for the first one; see tun.Device. It is called from
// one goroutine at a time. Errors: os.ErrClosed.
func (d *Device) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	r := &d.read
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut.pkt == nil && r.next == r.count {
		if !d.refill(len(bufs)) {
			return 0, os.ErrClosed
		}
	}
	n := 0
	for n < len(bufs) {
		if r.cut.pkt == nil {
			if r.next == r.count {
				break
			}
			r.cut.begin(r.taken[r.next], int(d.link.mtu.Load()))
			r.taken[r.next] = nil
			r.next++
		}
		if size := r.cut.segment(bufs[n][offset:]); size > 0 {
			sizes[n] = size
			n++
		} else {
			d.link.full.Add(1) // it is larger than the buffer
		}
	}
	return n, nil
}

// refill takes packets off the ring, at most as many as there are buffers.
func (d *Device) refill(buffers int) bool {
	n, open := d.link.take(d.read.taken[:min(buffers, batchSize)])
	d.read.next, d.read.count = 0, n
	return open
}

// drop lets go of what Read has taken off the ring; the device is closed.
func (r *reader) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pkt := range r.taken[r.next:r.count] {
		pkt.DecRef()
	}
	r.next, r.count = 0, 0
	if r.cut.pkt != nil {
		r.cut.end()
	}
}
