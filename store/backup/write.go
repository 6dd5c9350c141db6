package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/wgfleet/wgfleet/store/internal/cost"
)

// Writer writes one backup. Close ends it; without that it is not complete, and says so to its reader.
type Writer struct {
	plain
	sealed io.WriteCloser
	header Header
}

// NewWriter begins a backup. It refuses a passphrase that Check refuses, takes some 0.3 s, and sets the format of the
// header itself.
func NewWriter(w io.Writer, p Passphrase, h Header) (*Writer, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	to, err := age.NewScryptRecipient(string(p))
	if err != nil {
		return nil, fmt.Errorf("encrypt the backup: %w", err)
	}
	to.SetWorkFactor(cost.WorkFactor)
	sealed, err := age.Encrypt(w, to)
	if err != nil {
		return nil, fmt.Errorf("encrypt the backup: %w", err)
	}
	h.Format = Format
	out := &Writer{plain: plain{to: sealed, digest: NewDigest()}, sealed: sealed, header: h}
	return out, out.begin(h)
}

// Close writes what ends a backup; it does not close what is below.
func (w *Writer) Close() (Summary, error) {
	end := w.digest.trailer()
	if err := errors.Join(w.end(end), w.sealed.Close()); err != nil {
		return Summary{}, err
	}
	return Summary{Header: w.header, Records: end.Records, SHA256: end.SHA256}, nil
}

// plain writes what is inside the encryption.
type plain struct {
	to     io.Writer
	digest *Digest
	last   string
}

func (p *plain) begin(h Header) error {
	line, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode the backup's header: %w", err)
	}
	_, err = p.to.Write(append(line, '\n'))
	return err
}

// Put writes the next record. Keys must ascend.
func (p *plain) Put(key string, value []byte) error {
	if key <= p.last || len(key) > maxKey || len(value) > maxValue {
		return fmt.Errorf("a backup can't hold the record %q of %d bytes after %q", key, len(value), p.last)
	}
	p.last = key
	p.digest.Add(key, value)
	return writeRecord(p.to, key, value)
}

// end writes the trailer: no record has an empty key.
func (p *plain) end(t trailer) error {
	text, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode the backup's trailer: %w", err)
	}
	return writeRecord(p.to, "", text)
}
