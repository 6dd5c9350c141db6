package link

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

const (
	resolvconf = "resolvconf"
	// resolvconfTimeout is past the 10 s for which resolvconf waits for others of its kind.
	resolvconfTimeout = 30 * time.Second
	// interfaceOrder is the file of Debian's resolvconf that says whose servers come first.
	interfaceOrder = "/etc/resolvconf/interface-order"
)

// addResolvconf makes the interface's servers the only ones, with the same words as wg-quick(8).
func (h *Host) addResolvconf(ctx context.Context, path string, c Config) error {
	return h.runResolvconf(ctx, c, resolvLines(c), path, "-a", resolvconfRecord(c), "-m", "0", "-x")
}

// deleteResolvconf is content where resolvconf knows nothing of the interface.
func (h *Host) deleteResolvconf(ctx context.Context, path string, c Config) error {
	return h.runResolvconf(ctx, c, "", path, "-d", resolvconfRecord(c), "-f")
}

func (h *Host) runResolvconf(ctx context.Context, c Config, stdin, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, resolvconfTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	return runProgram(ctx, resolvconf, c.Interface, cmd, h.o.Logger)
}

// resolvconfRecord is the name under which resolvconf knows the interface.
func resolvconfRecord(c Config) string {
	order, _ := os.ReadFile(interfaceOrder) // most hosts have none
	return recordPrefix(string(order)) + c.Interface
}

var orderPrefix = regexp.MustCompile(`(?m)^[ \t]*([A-Za-z0-9-]+)\*[ \t]*$`)

// recordPrefix puts the interface among those that come first: resolvconf_iface_prefix of
// wg-quick(8).
func recordPrefix(order string) string {
	if m := orderPrefix.FindStringSubmatch(order); m != nil {
		return m[1] + "."
	}
	return ""
}
