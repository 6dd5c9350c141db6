package app

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
)

const (
	// minSecret is the length in bytes below which a secret is called short.
	minSecret = 16
	// publicSecret was the default of the original agent: everyone knows it.
	publicSecret = "change-me-in-production"

	agentSecretFile = "agent.secret"
	// AdminKeyFile is where the data folder keeps the administrator's API key.
	AdminKeyFile = "admin.key"
	howToSecret  = "make one with `wgfleet secret` and set WG_AGENT_SECRET on this host and on the panel's node"
)

// secretText reads a secret from its setting or from the file that another one names.
func (p *problems) secretText(key, fileKey string) (value string, given bool) {
	_, given = p.origin[key]
	path := p.values[fileKey]
	switch {
	case path == "":
		return p.values[key], given
	case given:
		p.add(key, "%s is given as well: keep one of the two", settingOf(fileKey).env)
		return "", false
	}
	b, err := os.ReadFile(path)
	if err != nil {
		p.add(fileKey, "%v", err)
		return "", false
	}
	return strings.TrimRight(string(b), "\r\n"), true
}

// sharedSecret refuses a secret that anyone can guess.
func (p *problems) sharedSecret(key, fileKey string, needed bool) agent.Secret {
	before := len(p.errs)
	value, given := p.secretText(key, fileKey)
	switch {
	case len(p.errs) > before:
	case !given && needed:
		p.add(key, "no shared secret is set: %s", howToSecret)
	case given && strings.TrimSpace(value) == "" && (key == keySecret || value != ""):
		p.add(key, "the shared secret is empty: %s", howToSecret)
	case value == publicSecret:
		p.add(key, "%s is a secret that everyone knows: %s", publicSecret, howToSecret)
	}
	return agent.Secret(value)
}

// warnShort warns of secrets that can be guessed with patience.
func (s Settings) warnShort(log *slog.Logger) {
	for _, v := range []agent.Secret{s.Agent.Secret, s.Agent.PreviousSecret} {
		if v != "" && len(v) < minSecret {
			log.Warn("the shared secret is short: make a longer one with wgfleet secret",
				slog.Int("bytes", len(v)), slog.Int("at_least", minSecret))
		}
	}
}

// keptSecret reads the secret kept under name in the data folder, or makes and keeps one.
func keptSecret(dataDir, name string) (value string, made bool, err error) {
	path := filepath.Join(dataDir, name)
	b, err := os.ReadFile(path)
	if err == nil {
		value = strings.TrimSpace(string(b))
		if value == "" {
			return "", false, fmt.Errorf("%s is empty: remove it, a new one is made then", path)
		}
		return value, false, nil
	}
	if !os.IsNotExist(err) {
		return "", false, fmt.Errorf("read a kept secret: %w", err)
	}
	value = string(agent.NewSecret())
	return value, true, hostfile.Root("").Replace(path, value+"\n", 0o600)
}
