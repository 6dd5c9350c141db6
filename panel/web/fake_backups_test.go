package web

import (
	"context"
	"io"
	"strings"

	"github.com/wgfleet/wgfleet/panel"
)

// What the fake's backups are.
const (
	fakePassphrase = "a passphrase of the fake"
	fakeBackup     = "the bytes of a backup"
)

var fakeSummary = panel.BackupSummary{
	Records: 3, SHA256: strings.Repeat("ab", 32),
}

func (f *fake) Backup(_ context.Context, w io.Writer, p panel.Passphrase) (panel.BackupSummary, error) {
	if err := f.enter(true); err != nil {
		return panel.BackupSummary{}, err
	}
	if err := p.Check(); err != nil {
		return panel.BackupSummary{}, panel.Invalid("passphrase", "%v", err)
	}
	for part := range strings.SplitAfterSeq(fakeBackup, " ") {
		if _, err := io.WriteString(w, part); err != nil {
			return panel.BackupSummary{}, err
		}
		if f.cutOff != nil {
			return panel.BackupSummary{}, f.cutOff
		}
	}
	return fakeSummary, nil
}

func (f *fake) Restorable(context.Context) error { return f.notEmpty }

func (f *fake) Restore(_ context.Context, r io.Reader, p panel.Passphrase) (panel.BackupSummary, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return panel.BackupSummary{}, err
	}
	if f.restoring != nil {
		f.restoring()
	}
	if p != fakePassphrase {
		return panel.BackupSummary{}, panel.Invalid("passphrase", "does not open this backup")
	}
	f.restored = string(text)
	sum := fakeSummary
	sum.Format, sum.Schema, sum.SchemaName, sum.Program, sum.CreatedAt = 1, 1, "baseline", "v1.2.3", epoch
	return sum, f.enter(true)
}
