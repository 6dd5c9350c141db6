package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// seededFolder, in the data folder, has an empty file for each one that was copied.
const seededFolder = "seeded"

// seed copies the wg-quick files to begin with, and makes the private key of one that has none. That is done once for each
// name: one that is there is the agent's and holds the peers, and one that went away meanwhile, deleted or lost, must not
// come back as another identity.
func (p *process) seed() error {
	if p.SeedDir == "" {
		return nil
	}
	entries, err := os.ReadDir(p.SeedDir)
	if err != nil {
		return fmt.Errorf("%s: %w", settingOf(keySeedDir).env, err)
	}
	for _, dir := range []string{p.ConfDir, p.file(seededFolder)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("copy the files to begin with: %w", err)
		}
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
	const host = hostfile.Root("")
	mark := filepath.Join(p.file(seededFolder), name)
	if _, err := os.Lstat(mark); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	path := filepath.Join(p.ConfDir, name)
	if _, err := os.Lstat(path); err == nil {
		return host.Replace(mark, "", 0o600)
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
	if err := host.New(path, string(f.Bytes()), 0o600); err != nil {
		return err
	}
	p.log.Info("a file to begin with was copied", slog.String("file", path), slog.Bool("key_made", !has))
	return host.Replace(mark, "", 0o600)
}
