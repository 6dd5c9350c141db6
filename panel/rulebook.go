package panel

import "sync"

// ruleBook keeps the rules as they were last read, since each look at a node needs them.
type ruleBook struct {
	mu      sync.Mutex // protects the rest
	rules   []Rule     // nil: not read
	version uint64     // how often they were changed
}

// get returns the rules, and the version that put must be told.
func (b *ruleBook) get() ([]Rule, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rules, b.version
}

// put keeps what was read, unless the rules were changed since.
func (b *ruleBook) put(rules []Rule, version uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.version == version {
		b.rules = rules
	}
}

func (b *ruleBook) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules = nil
	b.version++
}
