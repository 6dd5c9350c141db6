package store

import (
	"context"
	"errors"
	"iter"
)

// Limits. Keys count with their values and 64 bytes of overhead each against MaxTransaction.
const (
	MaxKey         = 1024      // bytes of a key
	MaxValue       = 512 << 10 // bytes of a value before sealing
	MaxTransaction = 64 << 20  // bytes that one transaction writes: 80,000 records of 700 B
)

// The errors of the store.
var (
	// ErrNotFound: there is no record under the key.
	ErrNotFound = errors.New("not found")
	// ErrConflict: others kept changing what the transaction read until Update gave up. Nothing was written.
	ErrConflict = errors.New("others keep changing the same records")
	// ErrTooLarge: the value or the whole transaction exceeds what the store takes at once. Nothing was written.
	ErrTooLarge = errors.New("too large for one transaction")
	// ErrClosed: the store is closed, or the transaction has ended.
	ErrClosed = errors.New("the store is closed")
	// ErrReadOnly: a write in a View.
	ErrReadOnly = errors.New("a write in a read-only transaction")
	// ErrKey: a key or an id that the store does not take.
	ErrKey = errors.New("not a usable key")
	// ErrLocked: another process holds the folder.
	ErrLocked = errors.New("another wgfleet process uses the folder")
	// ErrSealed: the master key is not the one that the store was made with.
	ErrSealed = errors.New("the master key does not open the store")
	// ErrCorrupt: a record is there but can't be opened or decoded.
	ErrCorrupt = errors.New("the record is damaged")
	// ErrNewer: a newer program wrote the store.
	ErrNewer = errors.New("the store was written by a newer wgfleet")
	// ErrNoSpace: the disk is nearly full. Nothing was written.
	ErrNoSpace = errors.New("the disk is nearly full")
	// ErrWatchLagged: the consumer was slower than the writers for too long. Read again, then watch again.
	ErrWatchLagged = errors.New("the watch fell behind: read again, then watch again")
	// ErrTaken: the value belongs to another owner; errors.AsType[*TakenError] tells to whom.
	ErrTaken = errors.New("already taken")
	// ErrEngine: the storage engine failed; the text is its own.
	ErrEngine = errors.New("the storage engine failed")
)

// Store is what the panel needs of a storage engine. All methods may be called at the same time.
type Store interface {
	// View runs fn on a consistent snapshot. A write in it is ErrReadOnly.
	View(ctx context.Context, fn func(Tx) error) error

	// Update runs fn and commits what it wrote, durably, all or nothing. If a record or a range that fn read has
	// been changed by others meanwhile, fn is run again from the start: it must have no effect but through its Tx
	// (set variables of the caller, never add to them). Retries end with ErrConflict, at the latest when ctx ends.
	// An error from fn or from any write in it commits nothing and is returned as it is. Update may block for a
	// disk's fsync; once the commit is on its way ctx no longer stops it, so that the answer is never a guess.
	Update(ctx context.Context, fn func(Tx) error) error

	// Watch yields each change of a key with the prefix that is committed after Watch returned, in commit order
	// and by key within a transaction. To follow a set of records call Watch, then read, then range; an event may
	// repeat what the read has shown already. The last pair carries the reason of the end: ErrWatchLagged,
	// ErrClosed or ctx's cause. Writers never wait for a consumer. Range over it once; ctx ending frees it.
	Watch(ctx context.Context, prefix string) iter.Seq2[Event, error]

	// Schema says how the records are written. It stays the same while the store is open.
	Schema() Schema

	// Close waits for the transactions that run and then closes the store; never call it from inside one.
	// A second call does nothing.
	Close() error
}

// Tx is one transaction. It ends when the function that it was given to returns, or as soon as the context does.
type Tx interface {
	// Get returns a copy of the value, or ErrNotFound.
	Get(key string) ([]byte, error)
	// Put sets a value, which may be reused after the call.
	Put(key string, value []byte) error
	// Delete removes a record; one that is not there is no error.
	Delete(key string) error
	// Scan yields the records with the prefix whose keys are greater than after, ordered by the bytes of the key,
	// as the transaction held them when the range began: writes in the loop do not change what it yields. Scans
	// may be nested. An error is the last pair.
	Scan(prefix, after string) iter.Seq2[Record, error]
}

// Record is a key with its value.
type Record struct {
	Key   string
	Value []byte
}

// Event is one committed change. A deletion has no value, and may name a key that was not there.
type Event struct {
	Key     string
	Value   []byte
	Deleted bool
}
