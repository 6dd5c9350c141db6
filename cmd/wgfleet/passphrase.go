package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/wgfleet/wgfleet/store/backup"
)

const passphraseEnv = "WGFLEET_BACKUP_PASSPHRASE"

// passphraseFlags say where a passphrase comes from.
type passphraseFlags struct {
	con  *console
	file string
}

func addPassphraseFlags(con *console, c *cobra.Command) *passphraseFlags {
	f := &passphraseFlags{con: con}
	c.Flags().StringVar(&f.file, "passphrase-file", "", "file with the passphrase, in its first line [$"+passphraseEnv+"] (default: you are asked)")
	return f
}

// ofNew is the passphrase of a backup that is to be made.
func (f *passphraseFlags) ofNew(ctx context.Context) (backup.Passphrase, error) {
	p, asked, err := f.get(ctx, fmt.Sprintf("Passphrase of the backup (%d characters or more): ", backup.MinPassphrase))
	if err == nil {
		err = p.Check()
	}
	if err != nil || !asked {
		return p, err
	}
	again, err := f.con.readSecret(ctx, "The same again: ")
	if err == nil && again != string(p) {
		err = errors.New("the two are not the same: nothing was done")
	}
	return p, err
}

// ofOld is the passphrase of a backup that is there.
func (f *passphraseFlags) ofOld(ctx context.Context) (backup.Passphrase, error) {
	p, _, err := f.get(ctx, "Passphrase of the backup: ")
	if err == nil && p == "" {
		err = errors.New("no passphrase was given: it is the one that the backup was made with")
	}
	return p, err
}

func (f *passphraseFlags) get(ctx context.Context, question string) (p backup.Passphrase, asked bool, err error) {
	if f.file != "" {
		p, err = readPassphrase(f.file)
		return p, false, err
	}
	for _, kv := range f.con.environ {
		if text, ok := strings.CutPrefix(kv, passphraseEnv+"="); ok {
			return backup.Passphrase(text), false, nil
		}
	}
	if !f.con.terminal {
		return "", false, errors.New("no passphrase: give --passphrase-file or " + passphraseEnv + ", standard input is no terminal to ask at")
	}
	text, err := f.con.readSecret(ctx, question)
	return backup.Passphrase(text), true, err
}

// readPassphrase takes the first line of a file, and refuses one with more: a key that was named by mistake.
func readPassphrase(path string) (backup.Passphrase, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	line, rest, _ := strings.Cut(string(b), "\n")
	if rest != "" {
		return "", fmt.Errorf("--passphrase-file: %s has more than one line, a passphrase is one", path)
	}
	return backup.Passphrase(strings.TrimSuffix(line, "\r")), nil
}

// readSecret asks at the terminal and shows nothing of the answer. When ctx ends the terminal is left as it was.
func (c *console) readSecret(ctx context.Context, question string) (string, error) {
	fmt.Fprint(c.err, question)
	defer fmt.Fprintln(c.err)
	f, ok := c.in.(*os.File)
	if !ok {
		return readLine(c.in) // in a test
	}
	fd := int(f.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask for the passphrase: %w", err)
	}
	text, err := waitFor(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		_ = term.Restore(fd, before)
	}
	return string(text), err
}

// readLine reads no byte more than the line.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		switch n, err := r.Read(b); {
		case n > 0 && b[0] == '\n':
			return string(line), nil
		case n > 0:
			line = append(line, b[0])
		case err != nil:
			return string(line), err
		}
	}
}
