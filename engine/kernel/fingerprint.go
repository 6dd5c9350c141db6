package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
)

var _ engine.Fingerprinter = (*Device)(nil)

// Fingerprint reads the device without building it: what its answer says of a peer is hashed when the next
// one begins. See engine.Fingerprinter.
func (d *Device) Fingerprint(ctx context.Context) (engine.Fingerprint, error) {
	if err := d.ready(ctx, "look at"); err != nil {
		return engine.Fingerprint{}, err
	}
	read := readSocket
	if d.kind == engine.KindKernel {
		read = readNetlink
	}
	var s sums
	if err := read(ctx, d.name, &s); err != nil {
		return engine.Fingerprint{}, deviceError("look at", d.name, err)
	}
	s.endPeer()
	if err := d.readLink(&s.face); err != nil {
		return engine.Fingerprint{}, err
	}
	return s.prints.Sum(s.face), nil
}

// ready refuses a device that was closed here, and a caller who is gone.
func (d *Device) ready(ctx context.Context, what string) error {
	err := ctx.Err()
	if d.closed.Load() {
		err = engine.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, d.name, err)
	}
	return nil
}

// readLink fills in what the host knows. A userspace device may have no link here.
func (d *Device) readLink(i *engine.Interface) error {
	s, err := link.Read(d.name)
	if err != nil && !errors.Is(err, engine.ErrUnknownInterface) {
		return err
	}
	i.Addresses, i.MTU = engine.NormalizeAddresses(s.Addresses), s.MTU
	return nil
}

// sums is one read on its way to a fingerprint. It holds one peer at a time.
type sums struct {
	prints engine.Fingerprints
	face   engine.Interface
	peer   engine.Peer
	within bool // peer is one
}

// beginPeer begins the peer with this key, or goes on with it: a kernel that has more allowed IPs of a peer
// than a message holds names the peer again in the next one.
func (s *sums) beginPeer(key wgtypes.Key) {
	if s.within && s.peer.PublicKey == key {
		return
	}
	s.endPeer()
	s.within, s.peer.PublicKey = true, key
}

func (s *sums) endPeer() {
	if s.within {
		s.prints.Add(&s.peer)
	}
	s.within, s.peer = false, engine.Peer{AllowedIPs: s.peer.AllowedIPs[:0]}
}
