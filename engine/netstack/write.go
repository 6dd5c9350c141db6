package netstack

import (
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// joiners are for one Write each: it is called from a goroutine per peer.
var joiners = sync.Pool{New: func() any { return new(joiner) }}

// Write hands packets to the filter and the stack, TCP segments that belong together joined; see tun.Device. What is no
// whole packet is dropped and counted. Errors: os.ErrClosed.
func (d *Device) Write(bufs [][]byte, offset int) (int, error) {
	d.writing.RLock()
	defer d.writing.RUnlock()
	if d.closed {
		return 0, os.ErrClosed
	}
	j, _ := joiners.Get().(*joiner)
	defer joiners.Put(j)
	filter := d.filter.Load()
	for _, b := range bufs {
		packet := whole(b[offset:])
		switch {
		case packet == nil:
			d.link.malformed.Add(1)
		case filter != nil && (*filter)(packet):
		default:
			if j.full() {
				j.flush(d.link)
			}
			j.add(packet)
		}
	}
	j.flush(d.link)
	return len(bufs), nil
}

// whole returns the IP packet that b begins with; nil where it is none, or not all of it.
func whole(b []byte) []byte {
	if len(b) < header.IPv4MinimumSize {
		return nil
	}
	size := 0
	switch header.IPVersion(b) {
	case header.IPv4Version:
		h := header.IPv4(b)
		size = int(h.TotalLength())
		if head := int(h.HeaderLength()); head < header.IPv4MinimumSize || head > size || size > len(b) || !validHeader(h[:head]) {
			return nil
		}
	case header.IPv6Version:
		if len(b) < header.IPv6MinimumSize {
			return nil
		}
		size = header.IPv6MinimumSize + int(header.IPv6(b).PayloadLength())
	}
	if size == 0 || size > len(b) {
		return nil
	}
	return b[:size]
}

func validHeader(h header.IPv4) bool { return h.CalculateChecksum() == 0xffff }
