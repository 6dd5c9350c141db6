package install

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strconv"

	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
)

// door is a socket unit and the settings that say where it is.
type door struct {
	unit              string
	hostKey, portKey  string
	host, defaultPort string // of the unit as it comes
}

var doors = []door{
	{agentSocket, "WG_AGENT_HOST", "WG_AGENT_PORT", "0.0.0.0", "8080"},
	{panelSocket, "WGFLEET_PANEL_HOST", "WGFLEET_PANEL_PORT", "127.0.0.1", "10086"},
}

// listenText takes away where the unit itself listens.
const listenText = "[Socket]\nListenStream=\n" + "ListenStream=%s\n"

// dropIn has the socket elsewhere than the unit as it comes.
func (d door) dropIn() string { return path.Join(unitDir, d.unit+".d", "listen.conf") }

// environment is what the settings' file says by now.
func (p *Plan) environment() (systemd.Environment, error) {
	text, err := os.ReadFile(p.o.Root.At(envPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the settings: %w", err)
	}
	return systemd.ParseEnvironment(string(text)), nil
}

// listen has the sockets where the settings say. One secret at two places would keep the service from its start.
func (p *Plan) listen() error {
	env, err := p.environment()
	if err != nil {
		return err
	}
	for _, key := range []string{"WG_AGENT_SECRET", "WG_AGENT_SECRET_FILE"} {
		if _, given := env.Get(key); given && !p.o.NoAgent {
			return fmt.Errorf("%s sets %s, and the unit reads the secret from %s: put it there, alone and for root alone, and take the line out", envPath, key, secretPath)
		}
	}
	for _, d := range doors {
		host, otherHost := env.Get(d.hostKey)
		port, otherPort := env.Get(d.portKey)
		if !p.wants(d.unit) || !otherHost && !otherPort {
			continue
		}
		if !otherHost {
			host = d.host
		}
		if !otherPort {
			port = d.defaultPort
		}
		if net.ParseIP(host) == nil {
			return fmt.Errorf("%s sets %s to %q: expected an IP address, for the socket of systemd", envPath, d.hostKey, host)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%s sets %s to %q: expected a port from 1 to 65535, for the socket of systemd", envPath, d.portKey, port)
		}
		to := net.JoinHostPort(host, port)
		before := len(p.steps)
		file := d.dropIn()
		if err := p.file("write "+file+": it listens on "+to, file, fmt.Sprintf(listenText, to), 0o644); err != nil {
			return err
		}
		p.moved[d.unit] = p.moved[d.unit] || len(p.steps) > before
	}
	return nil
}
