package userspace

import (
	"context"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Greet begins handshakes; see engine.Greeter. Each costs some 0.1 ms of arithmetic: it stops between two
// of them when ctx ends, and nobody waits for it but who called.
func (d *Device) Greet(ctx context.Context, peers []wgtypes.Key) error {
	o, err := d.Observe(ctx)
	if err != nil {
		return err
	}
	for _, key := range peers {
		if p, there := engine.Lookup(o.Peers, key); !there || !p.Endpoint.IsValid() {
			continue // wireguard-go would try for 90 s to send to nowhere
		}
		if err := ctx.Err(); err != nil {
			return d.fail("greet the peers of", err)
		}
		if err := d.greet(key); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) greet(key wgtypes.Key) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return d.fail("greet the peers of", engine.ErrClosed)
	}
	if p := d.dev.LookupPeer(device.NoisePublicKey(key)); p != nil {
		_ = p.SendHandshakeInitiation(false) // it tries again by itself
	}
	return nil
}
