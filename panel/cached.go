package panel

import "sync"

// cached is what was last read of the store and is needed often. The zero value has nothing.
type cached[T any] struct {
	mu      sync.Mutex // protects the rest
	value   *T         // nil: not read
	version uint64     // how often it was forgotten
}

// get returns the value, nil where it must be read, and the version that put must be told then.
func (c *cached[T]) get() (*T, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.version
}

// put keeps what was read, unless it was changed since.
func (c *cached[T]) put(v *T, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version {
		c.value = v
	}
}

// forget must be called after each change of what is in the store.
func (c *cached[T]) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = nil
	c.version++
}
