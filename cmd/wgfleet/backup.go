package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/store/backup"
)

// backupData is what a backup is in short, for programs.
type backupData struct {
	File      string `json:"file"`
	Bytes     int64  `json:"bytes"`
	Records   int    `json:"records"`
	SHA256    string `json:"sha256"`
	Format    int    `json:"format"`
	Schema    int    `json:"schema"`
	Program   string `json:"program"`
	CreatedAt string `json:"created_at"`
}

func dataOf(file string, size int64, s backup.Summary) backupData {
	return backupData{
		File: file, Bytes: size, Records: s.Records, SHA256: s.SHA256, Format: s.Format, Schema: s.Schema,
		Program: s.Program, CreatedAt: s.CreatedAt.UTC().Format(time.RFC3339),
	}
}

func newBackup(con *console) *cobra.Command {
	c := &cobra.Command{
		Use: "backup FILE", Short: "Keep all that the panel knows in one encrypted file, while it runs", Args: usage(1, 1),
		Long: `Keep all that the panel knows, private keys included, in one file that only the passphrase opens. The panel runs on
meanwhile, and encrypts before anything leaves it. What arrives is decrypted and compared before the file has its name;
on an error or an interrupt nothing is there, or what was there before. FILE is - for standard output.`,
		SuggestionsMinimumDistance: 2,
		Example: `  wgfleet backup wgfleet.backup
  wgfleet backup --passphrase-file /root/passphrase --force /backup/wgfleet.backup
  wgfleet backup verify wgfleet.backup`,
	}
	f := addPanelAddress(con, c.Flags())
	c.Flags().BoolVar(&f.json, "json", false, summaryJSON)
	p := addPassphraseFlags(con, c)
	force := c.Flags().Bool("force", false, "replace FILE where it is there")
	backUp := f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		if err := client.Private(); err != nil {
			return err
		}
		if args[0] == "-" {
			return backupToStream(ctx, f, client, p)
		}
		return backupToFile(ctx, f, client, p, args[0], *force)
	})
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := noCommand(c, args[0]); err != nil {
			return err
		}
		return backUp(c, args)
	}
	c.AddCommand(backupVerify(con))
	return c
}

// summaryJSON says what --json does where the panel's answer is no JSON.
const summaryJSON = "print what the backup is as JSON"

// noCommand refuses a file whose name is that of a subcommand, but for a slip: that was meant, and would be asked a
// passphrase for.
func noCommand(c *cobra.Command, file string) error {
	near := c.SuggestionsFor(file)
	if len(near) == 0 || file == "" || strings.ContainsAny(file, "./") {
		return nil
	}
	return fmt.Errorf("there is no command %q (did you mean %s?); for a file of that name give ./%s", c.CommandPath()+" "+file, strings.Join(near, " or "), file)
}

func backupToStream(ctx context.Context, f *panelFlags, client *panelclient.Client, p *passphraseFlags) error {
	if f.json {
		return errors.New("--json and the backup can't both go to standard output: name a file")
	}
	if out, ok := f.con.out.(*os.File); ok && isTerminal(out) {
		return errors.New("standard output is a terminal: send it to a file or a program")
	}
	passphrase, err := p.ofNew(ctx)
	if err != nil {
		return err
	}
	size, sum, err := fetchBackup(ctx, f.con, client, passphrase, f.con.out)
	if err != nil {
		return err
	}
	f.con.hint("Backed up: %s", inWords(size, sum))
	return nil
}

func backupToFile(ctx context.Context, f *panelFlags, client *panelclient.Client, p *passphraseFlags, path string, force bool) error {
	if err := mayWrite(path, force); err != nil {
		return err
	}
	passphrase, err := p.ofNew(ctx)
	if err != nil {
		return err
	}
	var size int64
	var sum backup.Summary
	err = writeNew(path, force, func(w io.Writer) (err error) {
		size, sum, err = fetchBackup(ctx, f.con, client, passphrase, w)
		return err
	})
	if err != nil {
		return err
	}
	if f.json {
		return f.con.json(dataOf(path, size, sum))
	}
	f.con.printf("%s: %s\n", printable(path), inWords(size, sum))
	f.con.hint("It holds every private key. Without the passphrase nobody can open it, you included: keep that elsewhere.")
	return nil
}

// fetchBackup writes a backup as it comes, and opens it as it comes: what is not whole or can't be opened is an error.
func fetchBackup(ctx context.Context, con *console, client *panelclient.Client, p backup.Passphrase, to io.Writer) (int64, backup.Summary, error) {
	from, err := client.Backup(ctx, string(p))
	if err != nil {
		return 0, backup.Summary{}, err
	}
	defer from.Close()
	shown := &progress{con: con, what: "received"}
	defer shown.end()
	sum, err := backup.Verify(io.TeeReader(from, io.MultiWriter(to, shown)), p)
	return shown.bytes, sum, err
}

func backupVerify(con *console) *cobra.Command {
	c := &cobra.Command{
		Use: "verify FILE", Short: "Open a backup and compare all that is in it, without a panel", Args: usage(1, 1),
		Long: "Open a backup and compare all that is in it, without a panel. FILE is - for standard input.",
		Example: `  wgfleet backup verify wgfleet.backup
  ssh host cat wgfleet.backup | wgfleet backup verify --passphrase-file passphrase -`,
	}
	asJSON := c.Flags().Bool("json", false, summaryJSON)
	p := addPassphraseFlags(con, c)
	c.RunE = func(c *cobra.Command, args []string) error {
		file, err := con.open(args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		passphrase, err := p.ofOld(c.Context())
		if err != nil {
			return err
		}
		name := args[0]
		if name == "-" {
			name = "standard input"
		}
		size, sum, err := verifyFile(c.Context(), con, file, passphrase)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if *asJSON {
			return con.json(dataOf(args[0], size, sum))
		}
		con.printf("%s is whole: %s\n", printable(name), inWords(size, sum))
		return nil
	}
	return c
}

// open opens a backup to read it; - is standard input.
func (c *console) open(path string) (io.ReadCloser, error) {
	if path != "-" {
		return os.Open(path)
	}
	if in, ok := c.in.(*os.File); ok && isTerminal(in) {
		return nil, errors.New("standard input is a terminal: send a backup to it, or name a file")
	}
	return io.NopCloser(c.in), nil
}

// verifyFile reads a backup to its end.
func verifyFile(ctx context.Context, con *console, file io.Reader, p backup.Passphrase) (int64, backup.Summary, error) {
	shown := &progress{con: con, what: "verified"}
	defer shown.end()
	sum, err := backup.Verify(io.TeeReader(&interruptible{ctx, file}, shown), p)
	return shown.bytes, sum, err
}

// inWords says what a backup is.
func inWords(size int64, s backup.Summary) string {
	return fmt.Sprintf("%d records of %s, made by wgfleet %s, %s, SHA-256 %s",
		s.Records, s.CreatedAt.UTC().Format("2006-01-02 15:04:05 UTC"), printable(s.Program), inBytes(size), s.SHA256)
}

func inBytes(n int64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// progress tells a person at a terminal how far it is.
type progress struct {
	con   *console
	what  string
	bytes int64
	told  time.Time
}

// Write implements io.Writer.
func (p *progress) Write(b []byte) (int, error) {
	p.bytes += int64(len(b))
	if p.con.terminal && time.Since(p.told) > 200*time.Millisecond {
		p.told = time.Now()
		fmt.Fprintf(p.con.err, "\r%s %s ", p.what, inBytes(p.bytes))
	}
	return len(b), nil
}

// end takes the line away.
func (p *progress) end() {
	if !p.told.IsZero() {
		fmt.Fprint(p.con.err, "\r\x1b[K") // console_codes(4): erase to the end of the line
	}
}

// interruptible is a reader that ends with its context, though nothing may come from a pipe.
type interruptible struct {
	ctx context.Context //nolint:containedctx // of the command that reads
	r   io.Reader
}

// Read implements io.Reader.
func (i *interruptible) Read(p []byte) (int, error) {
	if err := context.Cause(i.ctx); err != nil {
		return 0, err
	}
	var ended error
	n, err := waitFor(i.ctx, func() (int, error) {
		n, err := i.r.Read(p)
		ended = err
		return n, nil
	})
	if err != nil {
		return 0, err
	}
	return n, ended
}
