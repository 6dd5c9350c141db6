package backup

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
)

// maxWorkFactor is what a file may ask for: age's own default, 256 MiB, for one that was encrypted anew by hand.
const maxWorkFactor = 18

// magic begins every file of age.
const magic = "age-encryption.org/v1\n"

// Reader reads one backup.
type Reader struct {
	from   *bufio.Reader
	source *source
	header Header
	digest *Digest
	last   string
	sum    Summary
	ended  bool
}

// Open reads a backup's header, which takes some 0.3 s.
func Open(r io.Reader, p Passphrase) (*Reader, error) {
	src := &source{r: r}
	head := bufio.NewReader(src)
	switch start, err := head.Peek(len(magic)); {
	case src.failed != nil:
		return nil, src.failed
	case string(start) != magic:
		return nil, ErrNotBackup
	case err != nil:
		return nil, err
	case p == "":
		return nil, ErrPassphrase
	}
	who, err := age.NewScryptIdentity(string(p))
	if err != nil {
		return nil, ErrPassphrase
	}
	who.SetMaxWorkFactor(maxWorkFactor)
	opened, err := age.Decrypt(head, who)
	switch {
	case err == nil:
	case src.failed != nil:
		return nil, src.failed
	case errors.Is(err, age.ErrIncorrectIdentity):
		return nil, ErrPassphrase
	default:
		return nil, fmt.Errorf("%w: its head can't be read", ErrDamaged) // age's own error is of its insides
	}
	return newReader(opened, src)
}

// newReader reads what is inside the encryption.
func newReader(opened io.Reader, src *source) (*Reader, error) {
	b := &Reader{from: bufio.NewReaderSize(opened, maxJSON), source: src, digest: NewDigest()}
	line, err := b.from.ReadSlice('\n')
	if err != nil {
		return nil, b.broken()
	}
	if err := json.Unmarshal(line, &b.header); err != nil || b.header.Format < 1 || b.header.Schema < 1 {
		return nil, ErrNotBackup // of age, but of something else
	}
	if b.header.Format > Format {
		return nil, fmt.Errorf("%w (%s, format %d; this program knows format %d): read it with that one", ErrNewer, b.header.Program, b.header.Format, Format)
	}
	return b, nil
}

// Header says what wrote the backup.
func (b *Reader) Header() Header { return b.header }

// Next returns the next record. io.EOF is the end of a backup that is complete and whole: Summary is known then.
func (b *Reader) Next() (key string, value []byte, err error) {
	if b.ended {
		return "", nil, io.EOF
	}
	var lengths [8]byte
	if _, err := io.ReadFull(b.from, lengths[:]); err != nil {
		return "", nil, b.broken()
	}
	nk, nv := binary.BigEndian.Uint32(lengths[:]), binary.BigEndian.Uint32(lengths[4:])
	if nk == 0 {
		return "", nil, b.end(nv)
	}
	if nk > maxKey || nv > maxValue {
		return "", nil, ErrDamaged
	}
	frame, err := b.take(int64(nk) + int64(nv))
	if err != nil {
		return "", nil, err
	}
	if key = string(frame[:nk]); key <= b.last {
		return "", nil, fmt.Errorf("%w: its records are out of order", ErrDamaged)
	}
	b.last, value = key, frame[nk:]
	b.digest.Add(key, value)
	return key, value, nil
}

// Summary is of the whole backup, once Next has returned io.EOF.
func (b *Reader) Summary() Summary { return b.sum }

func (b *Reader) end(length uint32) error {
	if length > maxJSON {
		return ErrDamaged
	}
	text, err := b.take(int64(length))
	if err != nil {
		return err
	}
	var says trailer
	if err := json.Unmarshal(text, &says); err != nil || says != b.digest.trailer() {
		return fmt.Errorf("%w: its records are not those that it says", ErrDamaged)
	}
	if _, err := b.from.ReadByte(); !errors.Is(err, io.EOF) {
		return b.broken()
	}
	b.sum = Summary{Header: b.header, Records: says.Records, SHA256: says.SHA256}
	b.ended = true
	return io.EOF
}

// take reads so many bytes. It holds no more than there are, whatever was announced.
func (b *Reader) take(n int64) ([]byte, error) {
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, b.from, n); err != nil {
		return nil, b.broken()
	}
	return slices.Clip(buf.Bytes()), nil
}

// broken tells a source that failed from a file that is not whole. What age and io say of it is of their insides.
func (b *Reader) broken() error {
	if b.source != nil && b.source.failed != nil {
		return b.source.failed
	}
	return ErrDamaged
}

// Verify reads a backup to its end.
func Verify(r io.Reader, p Passphrase) (Summary, error) {
	b, err := Open(r, p)
	for err == nil {
		_, _, err = b.Next()
	}
	if !errors.Is(err, io.EOF) {
		return Summary{}, err
	}
	return b.Summary(), nil
}

// source remembers why a read failed, which age does not always pass on.
type source struct {
	r      io.Reader
	failed error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	return n, err
}
