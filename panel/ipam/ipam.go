package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
)

// ErrExhausted means that every address of the pool that may be given out is used.
var ErrExhausted = errors.New("no free address is left in the pool")

// Compare orders prefixes by their first address, wider ones first: the order that Next wants.
func Compare(a, b netip.Prefix) int {
	return cmp.Or(a.Masked().Addr().Compare(b.Masked().Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// Next returns the lowest free address of the pool. used must be in the order of Compare; prefixes
// of other pools may be among them. One that holds the whole pool, such as 0.0.0.0/0 of an exit,
// takes no address of it: a longer prefix in it goes to its own peer.
func Next(pool netip.Prefix, used iter.Seq[netip.Prefix]) (netip.Addr, error) {
	own, last := bounds(pool)
	free := own.Next()
	if !own.IsValid() || own == last {
		return netip.Addr{}, fmt.Errorf("%s: %w", pool, ErrExhausted)
	}
	for p := range used {
		p = p.Masked()
		if p.Addr().BitLen() != free.BitLen() || p.Bits() <= pool.Bits() && p.Contains(pool.Addr()) {
			continue
		}
		if free.Less(p.Addr()) {
			break
		}
		end := lastOf(p)
		if end.Less(free) {
			continue
		}
		if free = end.Next(); !free.IsValid() || last.Less(free) {
			return netip.Addr{}, fmt.Errorf("%s: %w", pool, ErrExhausted)
		}
	}
	return free, nil
}

// Own returns the address that is the node's in the pool, with the pool's length.
func Own(pool netip.Prefix) netip.Prefix {
	own, _ := bounds(pool)
	return netip.PrefixFrom(own, pool.Bits())
}

// bounds returns the first and the last usable address.
func bounds(pool netip.Prefix) (first, last netip.Addr) {
	pool = pool.Masked()
	first, last = pool.Addr(), lastOf(pool)
	if pool.Addr().BitLen()-pool.Bits() < 2 {
		return first, last
	}
	first = first.Next()
	if pool.Addr().Is4() {
		last = last.Prev()
	}
	return first, last
}

// lastOf returns the highest address of a masked prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		host := 8*(i+1) - p.Bits() // bits of this byte that are the host's
		switch {
		case host >= 8:
			b[i] = 0xff
		case host > 0:
			b[i] |= 1<<host - 1
		}
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
