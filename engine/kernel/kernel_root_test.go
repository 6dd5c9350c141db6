//go:build root

package kernel_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// foreign is the backend under test where there is no kernel module: interfaces are made by a
// userspace backend, in the role of another process, and used through their sockets alone.
type foreign struct {
	*kernel.Backend
	maker *userspace.Backend
}

func newForeign(t testing.TB) foreign {
	t.Helper()
	require.Zero(t, os.Geteuid(), "the tests with the tag root need root")
	require.NoError(t, link.Up("lo"))
	return foreign{kernel.New(), userspace.NewTUN(userspace.Options{})}
}

type foreignDevice struct {
	engine.Fingerprinter
	maker engine.Device
}

func (f foreign) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	made, err := f.maker.Create(ctx, i)
	if err != nil {
		return nil, err
	}
	d, err := f.Attach(ctx, i.Name)
	if err != nil {
		return nil, err
	}
	return foreignDevice{d.(engine.Fingerprinter), made}, nil
}

// Close ends with the other process's end of it, so that the name is free at once.
func (d foreignDevice) Close(ctx context.Context) error {
	if err := d.Fingerprinter.Close(ctx); err != nil {
		return err
	}
	return d.maker.Close(ctx)
}

func TestForeignConformance(t *testing.T) {
	enginetest.RunConformance(t, func(t *testing.T) engine.Backend { return newForeign(t) })
}

func TestForeignWriteMovesTheOwnersRevision(t *testing.T) {
	f := newForeign(t)
	made, err := f.maker.Create(t.Context(), engine.Interface{Name: "wgt0", PrivateKey: enginetest.PrivateKey(t)})
	require.NoError(t, err)
	defer made.Close(t.Context())
	d, err := f.Attach(t.Context(), "wgt0")
	require.NoError(t, err)
	require.Equal(t, engine.KindUserspace, d.(engine.Kinded).Kind())
	_, owned := d.(engine.Owned)
	require.False(t, owned)

	before := made.(engine.Owned).Revision()
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, made.(engine.Owned).Revision())
	c := engine.Changes{Peers: engine.DiffPeers(o.Peers, enginetest.Peers(40), engine.DiffOptions{})}
	after, err := engine.Apply(t.Context(), d, o.State, c)
	require.NoError(t, err)
	require.Greater(t, made.(engine.Owned).Revision(), before)
	same, err := made.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, after, same, "both ways read the same")
}

// A socket that a crashed process left is no interface, and does not hide the others.
func TestStaleSocket(t *testing.T) {
	f := newForeign(t)
	made, err := f.maker.Create(t.Context(), engine.Interface{Name: "wgt0"})
	require.NoError(t, err)
	defer made.Close(t.Context())
	stale(t, "/var/run/wireguard/wgt1.sock")
	names, err := f.Names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"wgt0"}, names)
	_, err = f.Attach(t.Context(), "wgt1")
	require.ErrorIs(t, err, engine.ErrUnknownInterface)

	replaced, err := f.maker.Create(t.Context(), engine.Interface{Name: "wgt1"})
	require.NoError(t, err, "a stale socket is replaced")
	require.NoError(t, replaced.Close(t.Context()))
}

func TestCloseOfADeviceWithoutALink(t *testing.T) {
	newForeign(t)
	n := userspace.NewNetstack(userspace.Options{UAPIDir: userspace.DefaultUAPIDir})
	made, err := n.Create(t.Context(), engine.Interface{Name: "wgt0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}})
	require.NoError(t, err)
	defer made.Close(t.Context())
	d, err := kernel.New().Attach(t.Context(), "wgt0")
	require.NoError(t, err)
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Empty(t, o.Interface.Addresses, "only the process behind it knows them")
	require.ErrorIs(t, d.Close(t.Context()), engine.ErrUnsupported)
	require.NoError(t, made.Close(t.Context()))
	require.NoError(t, d.Close(t.Context()))
}

// Usable says what Create does. What the links of a kernel with WireGuard do is for the tests with the
// tag vm: see .ci/test-kernel.
func TestUsableIsTrue(t *testing.T) {
	b := kernel.New()
	usable := b.Usable()
	d, err := b.Create(t.Context(), engine.Interface{Name: "wgt0"})
	if usable == nil {
		require.NoError(t, err)
		require.NoError(t, d.Close(t.Context()))
		return
	}
	for _, err := range []error{usable, err} {
		require.ErrorContains(t, err, "the kernel has no wireguard module")
	}
}

// stale leaves a socket as a process does that was killed.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
	t.Cleanup(func() { os.Remove(path) })
}
