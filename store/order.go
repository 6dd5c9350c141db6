package store

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// order decides which transactions commit and in what order. The engine's own detection is off: it misses records
// that appear in a gap which a transaction has scanned, and that is how two peers would get one address.
type order struct {
	mu     sync.Mutex
	last   uint64         // the sequence number of the newest commit
	active map[uint64]int // what last was when a running Update began → how many of them
	recent []commit       // commits that some running Update has not seen, oldest first
}

// commit is what a transaction wrote.
type commit struct {
	seq    uint64
	writes []*write // sorted by key
}

// footprint is what a transaction has read.
type footprint struct {
	keys  map[string]struct{}
	spans []*span
}

// span is the part of a scan that was looked at: keys with the prefix, greater than after, up to last or to the end.
type span struct {
	prefix, after, last string
	whole               bool
}

func newOrder() *order { return &order{active: map[uint64]int{}} }

// begin must come before the snapshot is taken: a commit between the two then looks like a conflict, which costs a
// retry; the other way round it would be overlooked.
func (o *order) begin() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.active[o.last]++
	return o.last
}

// end forgets the commits that no running transaction can conflict with any more.
func (o *order) end(begun uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.active[begun]--; o.active[begun] == 0 {
		delete(o.active, begun)
	}
	if len(o.active) == 0 {
		o.recent = nil
		return
	}
	oldest := slices.Min(slices.Collect(maps.Keys(o.active)))
	o.recent = slices.DeleteFunc(o.recent, func(c commit) bool { return c.seq <= oldest })
}

// admit calls send, which queues the commit with the engine, unless a commit since begun wrote what the transaction
// has read. Calls of send happen one at a time, in commit order; only that of a large commit waits for the disk.
func (o *order) admit(begun uint64, read *footprint, writes []*write, send func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.recent {
		if c.seq > begun && read.meets(c.writes) {
			return false
		}
	}
	o.last++
	o.recent = append(o.recent, commit{seq: o.last, writes: writes})
	send()
	return true
}

func (f *footprint) meets(writes []*write) bool {
	return slices.ContainsFunc(writes, func(w *write) bool {
		if _, ok := f.keys[w.key]; ok {
			return true
		}
		return slices.ContainsFunc(f.spans, func(s *span) bool { return s.covers(w.key) })
	})
}

func (s *span) covers(key string) bool {
	return strings.HasPrefix(key, s.prefix) && key > s.after && (s.whole || key <= s.last)
}
