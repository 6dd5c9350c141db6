package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/engine"
)

// The three commands below print and read what those of wg(8) do.

func newGenkey(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "genkey", Short: "Print a new private key, as wg(8) does", Args: usage(0, 0),
		Example: "  umask 077 && wgfleet genkey > privatekey",
		RunE: func(*cobra.Command, []string) error {
			k, err := engine.GeneratePrivateKey()
			if err != nil {
				return err
			}
			return printSecretKey(con, k)
		},
	}
}

func newGenpsk(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "genpsk", Short: "Print a new preshared key, as wg(8) does", Args: usage(0, 0),
		Example: "  umask 077 && wgfleet genpsk > presharedkey",
		RunE: func(*cobra.Command, []string) error {
			k, err := engine.GeneratePresharedKey()
			if err != nil {
				return err
			}
			return printSecretKey(con, k)
		},
	}
}

func newPubkey(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "pubkey", Short: "Read a private key and print its public key, as wg(8) does", Args: usage(0, 0),
		Example: "  wgfleet genkey | tee privatekey | wgfleet pubkey > publickey",
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := waitFor(c.Context(), func() ([]byte, error) { return io.ReadAll(io.LimitReader(con.in, 1024)) })
			if err != nil {
				return err
			}
			k, err := engine.ParseSecretKey(strings.TrimSpace(string(text)))
			if err != nil || k.IsZero() {
				return errors.New("standard input holds no private key: expected 44 characters of base64, as `wgfleet genkey` prints")
			}
			con.printf("%s\n", k.Clamped().PublicKey())
			return nil
		},
	}
}

// printSecretKey warns, as wg(8) does, where others could read the file that is written.
func printSecretKey(con *console, k engine.SecretKey) error {
	if f, ok := con.out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o007 != 0 {
			con.hint("Warning: writing to world accessible file.\nConsider setting the umask to 077 and trying again.")
		}
	}
	if _, err := fmt.Fprintln(con.out, k.Reveal()); err != nil {
		return fmt.Errorf("print the key: %w", err)
	}
	return nil
}
