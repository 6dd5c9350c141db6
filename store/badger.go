package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// memTable decides what the engine costs, and how much one of its transactions holds: 15 % of it. Measured with
// records of 700 B, sealed, under keys of 21 B, written 600,000 times in transactions of 100:
//
//	memTable   in one transaction   anonymous memory   folder, really used
//	   8 MiB                1,600              80 MB               < 20 MiB
//	  16 MiB                3,200             150 MB               < 40 MiB
//	  64 MiB               13,000             560 MB              < 130 MiB
//	  96 MiB               19,500             570 MB              < 190 MiB
//
// An empty store adds 2 MB with any of them. So it is the smallest, and what does not fit into one transaction of
// the engine goes through the journal: 10,000 records take 0.4 s instead of 0.1 s, 0.2 s of it alone.
const memTable = 8 << 20

// engineOptions tunes the engine for some ten thousand small records in a small process.
func engineOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithInMemory(dir == "").
		WithSyncWrites(true).
		WithDetectConflicts(false). // order does it
		WithMemTableSize(memTable).
		WithNumMemtables(1).
		WithNumLevelZeroTables(2). // old versions wait here for compaction: keeps the folder at a few memtables
		WithNumLevelZeroTablesStall(6).
		WithNumCompactors(2).
		WithNumVersionsToKeep(1).
		WithCompression(options.None). // sealed values do not compress
		WithBlockCacheSize(0).         // tables are memory maps: the kernel's page cache does
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnTableRead).
		// All values lie in the tables: MaxValue is below the threshold. The value log stays empty for ever, so
		// there is no value-log garbage to collect; compaction drops what was overwritten.
		WithValueThreshold(1 << 20).
		WithValueLogFileSize(1 << 20).
		WithMetricsEnabled(false).
		WithLogger(engineLog{log})
}

// dropUnborn removes the files that a crash left between their making and their first byte. Nothing was ever in them,
// and the engine refuses to open beside one.
func dropUnborn(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".vlog" {
			continue
		}
		if info, ierr := e.Info(); ierr != nil || info.Size() > 0 {
			err = errors.Join(err, ierr)
			continue
		}
		err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
	}
	return err
}

// translate makes the engine's error ours. Most of the engine's errors lose their chain inside it: only their text
// is left to tell.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badger.ErrTxnTooBig):
		return ErrTooLarge
	case errors.Is(err, badger.ErrDBClosed), errors.Is(err, badger.ErrBlockedWrites):
		return ErrClosed
	default:
		return fmt.Errorf("%w: %s", ErrEngine, err.Error())
	}
}

// Pages grow, so that a scan for the first record stays cheap and one for all is fast.
const (
	firstPage = 8
	lastPage  = 256
)

// pager reads stored records page by page. No iterator of the engine is open while the caller's code runs: the
// engine panics when a transaction ends before its iterators.
type pager struct {
	txn           *badger.Txn
	prefix, after string
	page          []Record // still sealed, keys as stored
	size          int
	done          bool
}

func (p *pager) peek() (Record, bool, error) {
	if len(p.page) == 0 && !p.done {
		if err := p.fill(); err != nil {
			return Record{}, false, err
		}
	}
	if len(p.page) == 0 {
		return Record{}, false, nil
	}
	return p.page[0], true, nil
}

func (p *pager) skip() {
	p.after = p.page[0].Key
	p.page = p.page[1:]
}

func (p *pager) fill() error {
	p.size = min(max(firstPage, 2*p.size), lastPage)
	opt := badger.DefaultIteratorOptions
	opt.PrefetchValues = false // they lie beside their keys
	opt.Prefix = []byte(p.prefix)
	it := p.txn.NewIterator(opt)
	defer it.Close()
	p.page = make([]Record, 0, p.size)
	for it.Seek([]byte(max(p.prefix, p.after))); it.Valid(); it.Next() {
		if len(p.page) == p.size {
			return nil
		}
		key := string(it.Item().Key())
		if key == p.after {
			continue
		}
		box, err := it.Item().ValueCopy(nil)
		if err != nil {
			return translate(err)
		}
		p.page = append(p.page, Record{Key: key, Value: box})
	}
	p.done = true
	return nil
}

// engineLog sends the engine's log to ours. Its errors are warnings here: what failed is also returned to a caller.
type engineLog struct{ log *slog.Logger }

func (l engineLog) write(level slog.Level, format string, args []any) {
	if ctx := context.Background(); l.log.Enabled(ctx, level) {
		l.log.Log(ctx, level, "storage engine", "detail", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// Errorf implements badger.Logger.
func (l engineLog) Errorf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }

// Warningf implements badger.Logger.
func (l engineLog) Warningf(format string, args ...any) { l.write(slog.LevelWarn, format, args) }

// Infof implements badger.Logger.
func (l engineLog) Infof(format string, args ...any) { l.write(slog.LevelDebug, format, args) }

// Debugf implements badger.Logger.
func (l engineLog) Debugf(format string, args ...any) { l.write(slog.LevelDebug, format, args) }
