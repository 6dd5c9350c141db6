package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// seed copies the wg-quick files to begin with, and makes the private key of one that has none. One that is there already is left as it is, whatever
// the seed says by now: it is the agent's, and holds the peers.
func (p *process) seed() error {
	if p.SeedDir == "" {
		return nil
	}
	entries, err := os.ReadDir(p.SeedDir)
	if err != nil {
		return fmt.Errorf("%s: %w", settingOf(keySeedDir).env, err)
	}
	if err := os.MkdirAll(p.ConfDir, 0o700); err != nil {
		return fmt.Errorf("the folder of the wg-quick files: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		if err := p.seedFile(e.Name()); err != nil {
			return fmt.Errorf("%s: %w", settingOf(keySeedDir).env, err)
		}
	}
	return nil
}

func (p *process) seedFile(name string) error {
	path := filepath.Join(p.ConfDir, name)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := os.ReadFile(filepath.Join(p.SeedDir, name))
	if err != nil {
		return err
	}
	f, err := wgquick.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, has := f.Get("Interface", "PrivateKey")
	if !has {
		key, err := engine.GeneratePrivateKey()
		if err != nil {
			return err
		}
		if err := f.SetInterface("PrivateKey", key.RevealText()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	p.log.Info("a file to begin with was copied", slog.String("file", path), slog.Bool("key_made", !has))
	return keepSecret(p.ConfDir, name, strings.TrimRight(string(f.Bytes()), "\n"))
}
