package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Errors of backends and devices. Backends wrap them with the name and the cause.
var (
	// ErrUnknownInterface: no interface of that name is up here.
	ErrUnknownInterface = errors.New("unknown interface")
	// ErrInterfaceExists: the name is live already, here or elsewhere on the host.
	ErrInterfaceExists = errors.New("interface exists")
	// ErrPortInUse: the listen port could not be bound.
	ErrPortInUse = errors.New("listen port is in use")
	// ErrAddressInUse: another link of the host has the address; the message names both.
	ErrAddressInUse = errors.New("address is in use")
	// ErrNotPermitted: the process lacks a privilege; the message names it.
	ErrNotPermitted = errors.New("not permitted")
	// ErrUnsupported: this backend cannot do that on a running device.
	ErrUnsupported = errors.New("not supported by this backend")
	// ErrClosed: the device was taken down.
	ErrClosed = errors.New("device is closed")
)

// FieldError says which value was refused and what was expected. It never holds a secret.
type FieldError struct {
	Peer   wgtypes.Key // zero: not about a peer
	Field  string      // name as in the API: public_key, allowed_ips, …
	Reason string
}

// Error is one sentence.
func (e *FieldError) Error() string {
	if e.Peer == (wgtypes.Key{}) {
		return e.Field + ": " + e.Reason
	}
	return fmt.Sprintf("%s of peer %s: %s", e.Field, e.Peer, e.Reason)
}

// ConflictError says that a prefix belongs to another peer of the interface.
type ConflictError struct {
	Prefix netip.Prefix
	Holder wgtypes.Key // has it
	Wanted wgtypes.Key // asked for it
}

// Error names both peers.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("allowed IP %s for peer %s belongs to peer %s", e.Prefix, e.Wanted, e.Holder)
}

// ApplyError says that a change failed and what became of the device.
type ApplyError struct {
	Cause      error
	RolledBack bool // the device reads as it did before
	// Residual names the peers that are neither as before nor as wanted; empty after a clean
	// roll-back.
	Residual []wgtypes.Key
}

// Error says the cause first.
func (e *ApplyError) Error() string {
	if e.RolledBack {
		return fmt.Sprintf("%v; the device was put back as it was", e.Cause)
	}
	names := make([]string, len(e.Residual))
	for i, k := range e.Residual {
		names[i] = k.String()
	}
	return fmt.Sprintf("%v; the device could not be put back, look at peers: %s", e.Cause, strings.Join(names, ", "))
}

// Unwrap returns the cause.
func (e *ApplyError) Unwrap() error { return e.Cause }
