package engine

import (
	"context"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Kind names a way of driving WireGuard.
type Kind string

// The kinds that exist.
const (
	KindKernel   Kind = "kernel"   // wgctrl and netlink
	KindTUN      Kind = "tun"      // wireguard-go on /dev/net/tun
	KindNetstack Kind = "netstack" // wireguard-go on gVisor, no privileges
	KindFake     Kind = "fake"     // in memory, for tests
	// KindUserspace is a device of another process, behind its UAPI socket: it can be found, not made.
	KindUserspace Kind = "userspace"
)

// Backend makes and finds interfaces of one kind. It is safe for concurrent use.
type Backend interface {
	Kind() Kind
	// Create makes an interface with these settings and no peers, and brings it up. Errors:
	// ErrInterfaceExists, ErrPortInUse, ErrAddressInUse, ErrNotPermitted, *FieldError. On an error nothing is left.
	Create(ctx context.Context, i Interface) (Device, error)
	// Attach returns an interface that is up already, as it is: nothing is changed. Errors:
	// ErrUnknownInterface, ErrNotPermitted.
	Attach(ctx context.Context, name string) (Device, error)
	// Names lists the interfaces that Attach would find, sorted.
	Names(ctx context.Context) ([]string, error)
}

// Device is one interface that is up. It is safe for concurrent use, but only one caller may
// change it at a time: the agent's slot sees to that.
type Device interface {
	// Observe reads the whole device. The state is normalized. Errors: ErrClosed, ErrUnknownInterface.
	Observe(ctx context.Context) (Observation, error)
	// Configure does the changes in their order and stops at the first that fails: use Apply.
	// A changed MTU or address may be ErrUnsupported while running; nothing is done then. Errors:
	// ErrPortInUse, ErrClosed.
	Configure(ctx context.Context, c Changes) error
	// Close takes the interface down and frees it; peers are gone. A second call does nothing.
	Close(ctx context.Context) error
}

// Owned is a Device whose every configuration write passes through this process, so that a model
// of it stays true for as long as the revision stands still.
type Owned interface {
	Device
	// Revision grows with each write of configuration, whoever made it (Configure, or wg(8) on
	// the UAPI socket), and when the device is closed, whoever closed it.
	Revision() uint64
}

// Hosted is an Owned device that shares its addresses and MTU with the host: whoever changes them there
// moves no revision.
type Hosted interface {
	Owned
	// ReadHost fills in the addresses, normalized, and the MTU. Errors: as Observe.
	ReadHost(ctx context.Context, i *Interface) error
}

// Kinded is a Device that may be of another kind than the backend that found it.
type Kinded interface {
	Device
	// Kind says who drives the device.
	Kind() Kind
}

// Greeter is a Device that can begin handshakes by itself, so that the peers of an interface that was
// restarted need not find out by time-outs that their sessions are gone.
type Greeter interface {
	Device
	// Greet begins a handshake with each of these peers whose endpoint is known, and waits for none.
	// Keys of no peer are passed over. Errors: ErrClosed.
	Greet(ctx context.Context, peers []wgtypes.Key) error
}
