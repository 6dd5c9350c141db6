package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// putBackTimeout bounds the way back, which runs even where the caller has given up.
const putBackTimeout = 30 * time.Second

// Apply does all of the changes or none: it configures the device, reads it back, and on any
// failure puts back what it touched and reads again. before is the normalized state that the
// changes start from. It returns the observation that it read back, or an *ApplyError.
//
// wireguard-go applies line by line and stops at the first bad one, the kernel takes one message
// for some peers: neither is a transaction, so this is.
func Apply(ctx context.Context, d Device, before State, c Changes) (Observation, error) {
	if c.Empty() {
		return d.Observe(ctx)
	}
	err := d.Configure(ctx, c)
	if err == nil {
		var after Observation
		if after, err = ReadBack(ctx, d, c); err == nil {
			return after, nil
		}
	}
	return Observation{}, PutBack(ctx, d, before, c, err)
}

// ReadBack reads the device and checks that every change is in it.
func ReadBack(ctx context.Context, d Device, c Changes) (Observation, error) {
	o, err := d.Observe(ctx)
	if err != nil {
		return o, fmt.Errorf("read back: %w", err)
	}
	for _, p := range c.Peers {
		if !done(o.Peers, p) {
			return o, fmt.Errorf("read back: peer %s is not as it was set", p.Key())
		}
	}
	if c.Interface != nil && !sameInterface(o.Interface, settled(c.Interface.After, o.Interface)) {
		return o, errors.New("read back: the interface is not as it was set")
	}
	return o, nil
}

// settled fills in what the device chooses by itself, and the bits of the private key that every
// implementation sets.
func settled(want, seen Interface) Interface {
	want.PrivateKey = want.PrivateKey.Clamped()
	if want.ListenPort == 0 {
		want.ListenPort = seen.ListenPort
	}
	if want.MTU == 0 {
		want.MTU = seen.MTU
	}
	return want
}

func done(peers []Peer, c PeerChange) bool {
	have, ok := Lookup(peers, c.Key())
	if c.After == nil {
		return !ok
	}
	want := *c.After
	want.Endpoint = have.Endpoint // may roam at any moment
	return ok && SamePeer(have, want)
}

// PutBack undoes the changes after cause and returns an *ApplyError that says how that went.
func PutBack(ctx context.Context, d Device, before State, c Changes, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), putBackTimeout)
	defer cancel()
	failed := &ApplyError{Cause: cause, Residual: keysOf(c)}
	now, err := d.Observe(ctx)
	if err != nil {
		return failed
	}
	back := undo(now.State, before, c)
	if err := d.Configure(ctx, back); err != nil {
		failed.Cause = errors.Join(cause, fmt.Errorf("put back: %w", err))
	}
	now, err = d.Observe(ctx)
	if err != nil {
		return failed
	}
	left := undo(now.State, before, c)
	failed.RolledBack = left.Empty()
	failed.Residual = keysOf(left)
	return failed
}

// undo returns the changes from now back to before, for what c names alone.
func undo(now, before State, c Changes) Changes {
	var have, want []Peer
	for _, p := range c.Peers {
		present, ok := Lookup(now.Peers, p.Key())
		if ok {
			have = append(have, present)
		}
		if p.Before != nil {
			x := *p.Before
			if ok && !namesEndpoint(p) {
				x.Endpoint = present.Endpoint // it may have roamed meanwhile
			}
			want = append(want, x)
		}
	}
	back := Changes{Peers: DiffPeers(NormalizePeers(have), NormalizePeers(want), DiffOptions{RemoveUnknown: true})}
	if c.Interface != nil && !sameInterface(now.Interface, before.Interface) {
		back.Interface = &InterfaceChange{Before: now.Interface, After: before.Interface}
	}
	return back
}

// namesEndpoint reports whether the step itself sets another endpoint than there was.
func namesEndpoint(c PeerChange) bool {
	return c.Before != nil && c.After != nil && c.After.Endpoint.IsValid() && c.After.Endpoint != c.Before.Endpoint
}

func keysOf(c Changes) []wgtypes.Key {
	keys := make([]wgtypes.Key, 0, len(c.Peers))
	for _, p := range c.Peers {
		keys = append(keys, p.Key())
	}
	return keys
}
