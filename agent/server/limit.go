package server

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxSources bounds how many addresses are remembered.
const maxSources = 4096

// failures limits how many wrong signatures and broken bodies an address may send.
type failures struct {
	limit rate.Limit

	mu     sync.Mutex // protects source
	source map[netip.Prefix]*rate.Limiter
}

func newFailures(limit rate.Limit) *failures {
	return &failures{limit: limit, source: make(map[netip.Prefix]*rate.Limiter)}
}

// failed counts a wrong signature or a broken body, and reports whether that is still within the
// limit.
func (f *failures) failed(a netip.Prefix, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, known := f.source[a]
	if !known {
		f.makeRoom(now)
		l = rate.NewLimiter(f.limit, rateBurst)
		f.source[a] = l
	}
	return l.AllowN(now, 1)
}

// makeRoom forgets who has nothing against him any more, or anybody. The caller holds mu.
func (f *failures) makeRoom(now time.Time) {
	if len(f.source) < maxSources {
		return
	}
	for a, l := range f.source {
		if l.TokensAt(now) >= rateBurst {
			delete(f.source, a)
		}
	}
	for a := range f.source {
		if len(f.source) < maxSources {
			return
		}
		delete(f.source, a)
	}
}

// addressOf returns who sent a request: an IPv4 address or an IPv6 /64, which is one customer.
func addressOf(r *http.Request) netip.Prefix {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	ip := a.Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(ip, bits).Masked()
}
