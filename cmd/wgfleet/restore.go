package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

func newRestore(con *console) *cobra.Command {
	c := &cobra.Command{
		Use: "restore FILE", Short: "Fill an empty panel with what a backup holds", Args: usage(1, 1),
		Long: `Fill an empty panel with what a backup holds: all of it or, on any error, nothing. The file is opened and compared
here first, and what the panel wrote is read back and compared there.

A panel is empty that somebody has just started: its own host as a node does not count. Its administrator's key stays;
the keys of the backup work as well, but for the administrator's that came from the settings of the other panel.`,
		Example: "  wgfleet restore wgfleet.backup",
	}
	f := addPanelFlags(con, c)
	p := addPassphraseFlags(con, c)
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		if err := client.Private(); err != nil {
			return err
		}
		if args[0] == "-" {
			return errors.New("a backup is read twice, to compare it before it is sent: name a file, not standard input")
		}
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		passphrase, err := p.ofOld(ctx)
		if err != nil {
			return err
		}
		size, sum, err := verifyFile(ctx, con, file, passphrase)
		if err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		shown := &progress{con: con, what: "sent"}
		data, err := client.Restore(ctx, string(passphrase), io.TeeReader(file, shown))
		shown.end()
		if err != nil {
			return err
		}
		return show(f, data, func(r panelclient.Restored) error {
			if r.SHA256 != sum.SHA256 {
				return fmt.Errorf("the panel restored other records than those of %s: their SHA-256 is %s", args[0], r.SHA256)
			}
			con.printf("Restored: %s\n", inWords(size, sum))
			con.printf("The panel read all records back, and they are those of the backup.\n")
			con.hint("Next: `wgfleet drift` shows how the nodes differ from what was wanted then.")
			return nil
		})
	})
	return c
}
