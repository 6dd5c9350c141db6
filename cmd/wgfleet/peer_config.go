package main

import (
	"context"
	"fmt"
	"os"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

func peerConfig(f *panelFlags) *cobra.Command {
	var qr bool
	var png string
	c := &cobra.Command{
		Use: "config NODE PEER", Short: "Print a client's wg-quick file, or its QR code", Args: usage(2, 2),
		Long: "Print a client's wg-quick file, or its QR code. Both hold the client's private key.",
		Example: "  wgfleet peer config berlin laptop > wg0.conf\n  wgfleet peer config berlin phone --qr\n" +
			"  wgfleet peer config berlin phone --png phone.png",
	}
	c.Flags().BoolVar(&qr, "qr", false, "print a QR code for the terminal")
	c.Flags().StringVar(&png, "png", "", "write a QR code as a picture to this file")
	c.MarkFlagsMutuallyExclusive("qr", "png")
	c.RunE = f.run(func(ctx context.Context, client *panelclient.Client, args []string) error {
		_, p, err := findPeer(ctx, client, args[0], args[1])
		if err != nil {
			return err
		}
		if png != "" {
			picture, err := client.Raw(ctx, peerPath(p)+"/qr")
			if err != nil {
				return err
			}
			if err := writePrivate(png, picture); err != nil {
				return err
			}
			f.con.hint("%s was written; it holds the client's private key.", png)
			return nil
		}
		text, err := client.Raw(ctx, peerPath(p)+"/config")
		if err != nil {
			return err
		}
		switch {
		case f.json:
			return f.con.json(map[string]string{"config": string(text)})
		case qr:
			qrterminal.GenerateHalfBlock(string(text), qrterminal.L, f.con.out)
			return nil
		}
		f.con.printf("%s", text)
		return nil
	})
	return c
}

// writePrivate makes a file that only its owner reads. An existing one is replaced.
func writePrivate(path string, content []byte) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("replace the file: %w", err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("write the file: %w", err)
	}
	return nil
}
