package migrate

import (
	"context"
	"time"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
	"github.com/wgfleet/wgfleet/cmd/internal/systemd"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

// Where things are on a host.
const (
	unitName   = "wgfleet.service"
	unitPath   = "/etc/systemd/system/" + unitName
	envDir     = "/etc/wgfleet"
	envPath    = envDir + "/wgfleet.env"
	dataDir    = "/var/lib/wgfleet"
	recordPath = dataDir + "/migration.json"
	confDir    = "/etc/wireguard"
)

// defaultPatience is how long an agent may take to answer after its start.
const defaultPatience = 30 * time.Second

// Options say what host it is.
type Options struct {
	From       string                                   // folder of the original agent
	Root       hostfile.Root                            // what stands for /; "" is the host itself
	Executable string                                   // path of the program that the new unit runs
	Systemd    Systemd                                  // nil: it does not answer here
	Devices    Devices                                  // nil: engine/kernel, which finds those of the host
	Backends   func(context.Context) []app.BackendProbe // nil: those of this program
	Progress   func(string)                             // is told each step before it is taken; nil: nobody listens
	Now        func() time.Time
	Patience   time.Duration // how long an agent may take to answer after its start; 0: 30 s
}

// Devices finds the WireGuard interfaces that are live on a host.
type Devices interface {
	Names(ctx context.Context) ([]string, error)
	Attach(ctx context.Context, name string) (engine.Device, error)
}

// Systemd changes units; Start and Stop return when it is
// done; to stop or disable what is not there is no error.
type Systemd interface {
	State(ctx context.Context, unit string) (systemd.State, error)
	Start(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	Enable(ctx context.Context, unitOrPath string) error
	Disable(ctx context.Context, unit string) error
	Reload(ctx context.Context) error
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.Devices == nil {
		o.Devices = kernel.New()
	}
	if o.Backends == nil {
		o.Backends = app.ProbeBackends
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// at is where a path of the host lies.
func (o Options) at(path string) string { return o.Root.At(path) }
