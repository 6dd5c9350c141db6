package app

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// seed copies the wg-quick files to begin with. One that is there already is left as it is, whatever
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
	p.log.Info("a file to begin with was copied", slog.String("file", path))
	return keepSecret(p.ConfDir, name, strings.TrimRight(string(text), "\n"))
}
