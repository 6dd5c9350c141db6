package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

// Policy is the value of one of the settings below.
type Policy string

// Policies of Options.Hooks.
const (
	HooksLocal Policy = "local" // a hook passes where the host's file has it under the same key
	HooksAllow Policy = "allow"
	HooksDeny  Policy = "deny"
)

// Policies of Options.ExposeSecrets.
const (
	ExposeSecure Policy = "secure" // private and preshared keys over TLS and loopback only
	ExposeAlways Policy = "always"
	ExposeNever  Policy = "never"
)

// Policies of Options.Metrics.
const (
	MetricsOpen   Policy = "open"   // keys are replaced by a keyed hash
	MetricsFull   Policy = "full"   // open to all, with the keys
	MetricsSigned Policy = "signed" // with the keys, for signed requests
	MetricsOff    Policy = "off"
)

// Policies of Options.Up beside a list of names.
const (
	UpAuto = "auto" // every file on tun and netstack; on kernel, what was up under wgfleet before
	UpAll  = "all"
	UpNone = "none"
)

// Defaults of Options.
const (
	DefaultMaxTimestampAge = 300 * time.Second
	DefaultRateLimit       = rate.Limit(10) // failed signatures a second and address
	rateBurst              = 100
	hookTimeout            = 2 * time.Minute
	resolveTimeout         = 5 * time.Second
	bodyTimeout            = 30 * time.Second
	discardTimeout         = 2 * time.Second  // of a body that was refused for its size
	sendTimeout            = 30 * time.Second // of each sendStep of an answer
	slotTimeout            = 30 * time.Second
)

const sendStep = 64 << 10 // bytes

// HookRunner runs one wg-quick(8) hook of an interface, with %i replaced. It returns when the hook is
// done, or soon after ctx is.
type HookRunner interface {
	RunHook(ctx context.Context, iface, command string) error
}

// HookFunc is a HookRunner.
type HookFunc func(ctx context.Context, iface, command string) error

// RunHook calls f.
func (f HookFunc) RunHook(ctx context.Context, iface, command string) error {
	return f(ctx, iface, command)
}

// Resolver looks up the host names in the endpoints of a syncconf.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Network is the host around its interfaces: what wg-quick(8) does beside the device. *link.Host is
// the one of real hosts; nil where the devices are not the host's.
type Network interface {
	// Choose finds the MTU and the fwmark for an interface that is not up yet.
	Choose(ctx context.Context, c link.Config, endpoints []netip.AddrPort) (link.Choice, error)
	// Up is called when the device and its peers stand. On an error nothing is left.
	Up(ctx context.Context, c link.Config) error
	// Follow is called when the peers' allowed IPs changed.
	Follow(ctx context.Context, before, after link.Config) error
	// Down is called before the device goes.
	Down(ctx context.Context, c link.Config) error
}

var _ Network = (*link.Host)(nil)

// Options of a Server. The zero value of each optional field is its default.
type Options struct {
	Backend engine.Backend // makes interfaces; required
	Attach  engine.Backend // finds interfaces that live elsewhere; nil: only Backend is asked

	ConfDir string // of the wg-quick(8) files; required
	DataDir string // required; made with mode 0700

	Secret          agent.Secret // signs; required
	PreviousSecret  agent.Secret // accepted as well, for rotation; "" for none
	MaxTimestampAge time.Duration
	RequireNonce    bool // refuse v1 signatures

	Hooks         Policy
	ExposeSecrets Policy
	Metrics       Policy
	Up            []string   // {UpAuto}, {UpAll}, {UpNone} or names
	RateLimit     rate.Limit // failed signatures a second and address; 0: the default; rate.Inf: none

	HookRunner HookRunner // nil: hooks are skipped, which is logged
	Resolver   Resolver   // nil: the system's
	Network    Network    // nil: nothing but the device is set up

	Gateway GatewayOptions

	Version string
	Logger  *slog.Logger
	Now     func() time.Time
}

// GatewayOptions hold for the gateways of all interfaces, beside what their files say.
type GatewayOptions struct {
	Allow, Deny []engine.AccessRule
	Resolver    bool
	// OwnPorts are where this process listens, agent and panel; nil: nowhere. It may be called at any time.
	OwnPorts func() []uint16
	// HostAddresses are this host's; nil: those of its interfaces. It may be called at any time.
	HostAddresses func() ([]netip.Addr, error)
}

var policies = map[string]struct {
	of      func(*Options) *Policy
	allowed []Policy
}{
	"hooks":          {func(o *Options) *Policy { return &o.Hooks }, []Policy{HooksLocal, HooksAllow, HooksDeny}},
	"expose_secrets": {func(o *Options) *Policy { return &o.ExposeSecrets }, []Policy{ExposeSecure, ExposeAlways, ExposeNever}},
	"metrics":        {func(o *Options) *Policy { return &o.Metrics }, []Policy{MetricsOpen, MetricsFull, MetricsSigned, MetricsOff}},
}

// withDefaults checks the options and fills in what was not given; the first allowed policy is the
// default.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Backend == nil:
		return o, errors.New("agent: no backend was given")
	case o.ConfDir == "" || o.DataDir == "":
		return o, errors.New("agent: the configuration and data folders must be given")
	case o.Secret == "":
		return o, errors.New("agent: no shared secret was given: make one with wgfleet secret")
	}
	for name, p := range policies {
		v := p.of(&o)
		if *v == "" {
			*v = p.allowed[0]
		}
		if !slices.Contains(p.allowed, *v) {
			return o, fmt.Errorf("agent: %q is no value for %s: expected one of %v", *v, name, p.allowed)
		}
	}
	o.Up = slices.DeleteFunc(slices.Clone(o.Up), func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(o.Up) == 0 {
		o.Up = []string{UpAuto}
	}
	if o.MaxTimestampAge == 0 {
		o.MaxTimestampAge = DefaultMaxTimestampAge
	}
	if o.RateLimit == 0 {
		o.RateLimit = DefaultRateLimit
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Gateway.HostAddresses == nil {
		o.Gateway.HostAddresses = interfaceAddresses
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// secrets returns the shared secrets in the order in which they are tried.
func (o *Options) secrets() []agent.Secret {
	if o.PreviousSecret == "" {
		return []agent.Secret{o.Secret}
	}
	return []agent.Secret{o.Secret, o.PreviousSecret}
}
