package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// journal keeps the last good state of one interface in a folder: a snapshot and a log of what came
// after it. Each record is its length, its checksum and JSON; an acknowledged one was fsynced. A
// tail that was torn by a crash was never acknowledged and is cut off; damage anywhere else is an error
// (errDamaged), and nothing is written then.
//
// It is not safe for concurrent use: who holds the slot has it.
type journal struct {
	dir        string
	log        *os.File
	size       int64 // of the log up to the last good record
	generation uint64
	state      *lastState
	cut        int64 // bytes of a torn record that openJournal dropped
	broken     error // the log could not be brought back to size
}

const (
	recordHeader = 8 // length, checksum
	maxRecord    = 256 << 20
	compactAbove = 4 << 20 // bytes of log
	snapshotName = "snapshot"
	logPrefix    = "log."
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame puts length and checksum before a payload.
func frame(payload []byte) []byte {
	b := make([]byte, recordHeader, recordHeader+len(payload))
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(payload, castagnoli))
	return append(b, payload...)
}

// unframe returns the first payload and what follows; false where there is no whole record.
func unframe(b []byte) (payload, rest []byte, ok bool) {
	n := recordLength(b)
	if n == 0 || n > len(b) {
		return nil, b, false
	}
	payload = b[recordHeader:n]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, b, false
	}
	return payload, b[n:], true
}

// replay takes the records of a log into state and returns how many bytes of it are good. What is
// not good at the end is torn, anything else errDamaged.
func replay(state *lastState, log []byte) (int64, error) {
	rest := log
	for {
		payload, next, ok := unframe(rest)
		if !ok {
			break
		}
		var r record
		if json.Unmarshal(payload, &r) != nil || state.do(r) != nil {
			return 0, errDamaged // it was written whole
		}
		rest = next
	}
	if !torn(rest) {
		return 0, errDamaged
	}
	return int64(len(log) - len(rest)), nil
}

// torn reports whether bytes that begin with no record are the rest of a single write that a crash
// cut short: of what was acknowledged nothing can follow them.
func torn(b []byte) bool {
	if n := recordLength(b); n > 0 && n < len(b) && len(bytes.TrimLeft(b[n:], "\x00")) > 0 {
		return false // it is there in full, and more was written after it
	}
	for i := 1; i < len(b); i++ {
		if n := recordLength(b[i:]); n == 0 || n > len(b)-i || b[i+n-1] != '}' {
			continue // it saves the checksum
		}
		if _, _, ok := unframe(b[i:]); ok {
			return false
		}
	}
	return true
}

// recordLength is how long the record at the beginning is said to be; 0: none begins there.
func recordLength(b []byte) int {
	if len(b) < recordHeader {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > maxRecord {
		return 0
	}
	return recordHeader + int(n)
}

// errDamaged: what was written whole can't be read.
var errDamaged = errors.New("the last good state is damaged")

// setAside keeps a damaged journal for who wants to look at it; an older one goes.
func setAside(dir string) error {
	aside := filepath.Join(filepath.Dir(filepath.Dir(dir)), "damaged-"+filepath.Base(dir))
	if err := os.RemoveAll(aside); err != nil {
		return fmt.Errorf("set the last good state aside: %w", err)
	}
	if err := os.Rename(dir, aside); err != nil {
		return fmt.Errorf("set the last good state aside: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

// snapshotFile is the payload of a snapshot.
type snapshotFile struct {
	Generation uint64 `json:"generation"`
	Record     record `json:"record"`
}

// openJournal reads a folder, which need not exist.
func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the last good state: %w", err)
	}
	j := &journal{dir: dir, state: newLastState()}
	if err := j.readSnapshot(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(j.logPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the last good state: %w", err)
	}
	if j.size, err = replay(j.state, data); err != nil {
		return nil, fmt.Errorf("%w: %s", err, j.logPath())
	}
	j.cut = int64(len(data)) - j.size
	if err := j.openLog(); err != nil {
		return nil, err
	}
	j.removeOld()
	if j.grown() {
		j.compact() //nolint:errcheck // it can be read as it is; the next write asks for it again
	}
	return j, nil
}

func (j *journal) readSnapshot() error {
	data, err := os.ReadFile(filepath.Join(j.dir, snapshotName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the last good state: %w", err)
	}
	payload, _, ok := unframe(data)
	var s snapshotFile
	if !ok || json.Unmarshal(payload, &s) != nil || j.state.do(s.Record) != nil {
		return fmt.Errorf("%w: %s", errDamaged, filepath.Join(j.dir, snapshotName))
	}
	j.generation = s.Generation
	return nil
}

func (j *journal) logPath() string {
	return filepath.Join(j.dir, logPrefix+strconv.FormatUint(j.generation, 10))
}

// openLog opens the log of the generation and cuts off what is not good.
func (j *journal) openLog() error {
	f, err := os.OpenFile(j.logPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the last good state: %w", err)
	}
	if err := f.Truncate(j.size); err != nil {
		f.Close()
		return fmt.Errorf("open the last good state: %w", err)
	}
	j.log = f
	return syncDir(j.dir)
}

// removeOld removes the logs of other generations, which a snapshot has taken in.
func (j *journal) removeOld() {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return // they cost space, nothing else
	}
	for _, e := range entries {
		path := filepath.Join(j.dir, e.Name())
		if strings.HasPrefix(e.Name(), logPrefix) && path != j.logPath() || strings.HasSuffix(e.Name(), ".tmp") {
			os.Remove(path) //nolint:errcheck // as above
		}
	}
}

// append makes a record durable. On an error the state is as before.
func (j *journal) append(r record) error { return j.write(r, true) }

// saw tells that the host's file has that hash now. The disk is not waited for: where the record is
// lost, the file says the same at the next start.
func (j *journal) saw(hash string) {
	if !j.state.awaits(hash) {
		return
	}
	done := record{Done: true}
	if j.write(done, false) != nil {
		j.state.doFile(done)
	}
}

func (j *journal) write(r record, wait bool) error {
	if j.broken != nil {
		return j.broken
	}
	payload, err := r.encode()
	if err != nil {
		return err
	}
	b := frame(payload)
	_, err = j.log.WriteAt(b, j.size)
	if err == nil && wait {
		err = fsync(j.log)
	}
	if err != nil {
		if cut := j.log.Truncate(j.size); cut != nil {
			j.broken = fmt.Errorf("the last good state can't be written: %w", cut)
		}
		return fmt.Errorf("keep the last good state: %w", err)
	}
	j.size += int64(len(b))
	return j.state.do(r)
}

// grown reports whether it is time to compact.
func (j *journal) grown() bool { return j.size > compactAbove || j.broken != nil }

// compact writes a snapshot and begins a new log.
func (j *journal) compact() error {
	payload, err := json.Marshal(snapshotFile{Generation: j.generation + 1, Record: j.state.snapshot()})
	if err != nil {
		return fmt.Errorf("encode the last good state: %w", err)
	}
	snapshot, err := prepareFile(filepath.Join(j.dir, snapshotName), frame(payload))
	if err != nil {
		return err
	}
	if err := snapshot.commit(); err != nil {
		// Which snapshot the next open finds is unknown now, and with it whether it reads our log.
		j.broken = err
		return err
	}
	old := j.log
	j.generation++
	j.size = 0
	if err := j.openLog(); err != nil {
		j.broken = err
		return err
	}
	j.broken = nil
	old.Close()
	j.removeOld()
	return nil
}

func (j *journal) close() error { return j.log.Close() }

// remove forgets the interface.
func (j *journal) remove() error {
	j.log.Close()
	if err := os.RemoveAll(j.dir); err != nil {
		return fmt.Errorf("remove the last good state: %w", err)
	}
	return syncDir(filepath.Dir(j.dir))
}
