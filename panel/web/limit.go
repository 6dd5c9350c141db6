package web

import (
	"container/list"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RateLimit says how often one caller may call: a token bucket for each key and address, one for
// each address that sends no key, and one for each address whose keys are wrong.
type RateLimit struct {
	Off             bool
	PerSecond       float64 // requests
	Burst           int
	FailedPerSecond float64 // requests with a wrong key or none, a second
	FailedBurst     int
}

// DefaultRateLimit is far beyond a person, and a script that polls each second.
var DefaultRateLimit = RateLimit{PerSecond: 200, Burst: 2000, FailedPerSecond: 10, FailedBurst: 300}

// Backups and restorations of one key: more than any script needs, too few to guess passphrases with.
const (
	backupsPerSecond = 1.0 / 6
	backupsBurst     = 10
)

// maxBuckets bounds the memory of one kind of limit; the bucket used longest ago goes first.
const maxBuckets = 10_000

type limits struct {
	keys, addresses, failures *buckets
	backups                   *buckets // by key: each costs far more than any other call
}

func newLimits(l RateLimit, now func() time.Time) (*limits, error) {
	if l == (RateLimit{}) {
		l = DefaultRateLimit
	}
	if !l.Off && !(l.PerSecond > 0 && l.Burst > 0 && l.FailedPerSecond > 0 && l.FailedBurst > 0) {
		return nil, fmt.Errorf("web: a rate limit needs rates and bursts above zero, got %+v", l)
	}
	newBuckets := func(per float64, burst int) *buckets {
		return &buckets{off: l.Off, per: rate.Limit(per), burst: burst, now: now, of: map[string]bucket{}}
	}
	return &limits{
		keys:      newBuckets(l.PerSecond, l.Burst),
		addresses: newBuckets(l.PerSecond, l.Burst),
		failures:  newBuckets(l.FailedPerSecond, l.FailedBurst),
		backups:   newBuckets(backupsPerSecond, backupsBurst),
	}, nil
}

// buckets is a token bucket for each name.
type buckets struct {
	off   bool
	per   rate.Limit
	burst int
	now   func() time.Time

	mu   sync.Mutex // protects the rest
	of   map[string]bucket
	used list.List // their names, last used in front
}

type bucket struct {
	*rate.Limiter
	place *list.Element // in used
}

// take takes a token, or returns how long it is until there is one.
func (b *buckets) take(name string) time.Duration {
	if b.off {
		return 0
	}
	l, now := b.get(name), b.now()
	if l.AllowN(now, 1) {
		return 0
	}
	return b.until(l, now)
}

func (b *buckets) until(l *rate.Limiter, now time.Time) time.Duration {
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	return max(time.Millisecond, time.Duration(missing/float64(b.per)*float64(time.Second)))
}

func (b *buckets) get(name string) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if found, ok := b.of[name]; ok {
		b.used.MoveToFront(found.place)
		return found.Limiter
	}
	if len(b.of) >= maxBuckets {
		oldest, _ := b.used.Remove(b.used.Back()).(string)
		delete(b.of, oldest)
	}
	fresh := bucket{Limiter: rate.NewLimiter(b.per, b.burst), place: b.used.PushFront(name)}
	b.of[name] = fresh
	return fresh.Limiter
}

// bucketOf names the bucket of an address: one host has a whole IPv6 /64 to choose from.
func bucketOf(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return "unknown"
	}
	if addr = addr.Unmap().WithZone(""); addr.Is4() {
		return addr.String()
	}
	p, _ := addr.Prefix(64) // an IPv6 address has 128 bits
	return p.String()
}
