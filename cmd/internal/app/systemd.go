package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"
)

// The names of sockets that systemd may listen on for us: FileDescriptorName= of a socket unit.
const (
	agentSocket = "agent"
	panelSocket = "panel"
)

// handedOver takes the sockets that systemd listens on for this process, by their names; none
// without systemd. A socket stays open there while we are away, so that no caller is refused during
// a restart. See sd_listen_fds(3).
func handedOver() (map[string]net.Listener, error) {
	sockets := map[string]net.Listener{}
	var errs []error
	for _, f := range activation.Files(true) {
		if err := take(sockets, f); err != nil {
			errs = append(errs, err)
		}
		_ = f.Close() // the listener has a descriptor of its own
	}
	return sockets, errors.Join(errs...)
}

func take(sockets map[string]net.Listener, f *os.File) error {
	name := f.Name()
	if name != agentSocket && name != panelSocket {
		return fmt.Errorf("systemd hands over a socket of the name %q: set FileDescriptorName=%s or %s in its unit", name, agentSocket, panelSocket)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("take the socket %s of systemd: %w", name, err)
	}
	if _, tcp := l.(*net.TCPListener); !tcp || sockets[name] != nil {
		_ = l.Close()
		return fmt.Errorf("take the socket %s of systemd: expected one ListenStream= with a TCP port", name)
	}
	sockets[name] = l
	return nil
}

// toJournal reports whether systemd keeps what the process prints: see systemd.exec(5).
func toJournal() bool {
	is, err := journal.StdoutIsJournalStream()
	return is && err == nil
}

// service tells systemd how the process is, where its unit asks for that (Type=notify): see
// sd_notify(3).
type service struct{ log *slog.Logger }

// say is never what fails a start or a stop: without systemd nobody listens.
func (s service) say(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd is not told", slog.String("state", state), slog.String("error", err.Error()))
	}
}

func (s service) ready()    { s.say(daemon.SdNotifyReady) }
func (s service) stopping() { s.say(daemon.SdNotifyStopping) }
func (s service) alive()    { s.say(daemon.SdNotifyWatchdog) }

// watchdog is how often alive is wanted, 0 for never: WatchdogSec= of the unit.
func (s service) watchdog() time.Duration {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("systemd's watchdog is not served", slog.String("error", err.Error()))
		return 0
	}
	return every
}
