package gateway

import (
	"runtime/metrics"
	"sync"
	"time"
)

// memoryEvery is how often the runtime is asked, at most: a flow costs far less than the limit leaves.
const memoryEvery = 100 * time.Millisecond

// memory knows how much this process uses.
type memory struct {
	limit uint64 // bytes; 0: none

	mu     sync.Mutex // protects what follows
	at     time.Time
	isFull bool
	sample [2]metrics.Sample
}

func newMemory(limit int64) *memory {
	m := &memory{limit: uint64(max(limit, 0))}
	m.sample[0].Name = "/memory/classes/total:bytes"
	m.sample[1].Name = "/memory/classes/heap/released:bytes" // mapped, and given back to the host
	return m
}

// full reports whether the process uses as much as it may.
func (m *memory) full() bool {
	if m.limit == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); now.Sub(m.at) >= memoryEvery {
		m.at = now
		metrics.Read(m.sample[:])
		m.isFull = m.sample[0].Value.Uint64()-m.sample[1].Value.Uint64() >= m.limit
	}
	return m.isFull
}
