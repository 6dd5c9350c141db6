package enginetest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// RunConformance holds a backend to the contract of engine.Backend and engine.Device. newBackend
// makes one without interfaces, for one test.
func RunConformance(t *testing.T, newBackend func(t *testing.T) engine.Backend) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, engine.Backend)
	}{
		{"create and observe", createAndObserve},
		{"names and attach", namesAndAttach},
		{"refusals of create", refusalsOfCreate},
		{"port in use", portInUse},
		{"close", closeTwice},
		{"add update remove", addUpdateRemove},
		{"every field can be cleared", clearFields},
		{"a prefix moves", prefixMoves},
		{"interface settings change", interfaceSettings},
		{"fwmark", fwmark},
		{"a failed change leaves nothing", failedChange},
		{"a failed interface change leaves nothing", failedPort},
		{"the own key is refused", ownKey},
		{"revision", revision},
		{"concurrent use", concurrentUse},
		{"a thousand peers", thousandPeers},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBackend(t)) })
	}
}

// bench is one interface under test.
type bench struct {
	*testing.T
	device engine.Device
}

func newBench(t *testing.T, b engine.Backend, i engine.Interface) bench {
	t.Helper()
	d, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close(context.Background())) })
	return bench{t, d}
}

func (b bench) observe() engine.Observation {
	b.Helper()
	o, err := b.device.Observe(b.Context())
	require.NoError(b, err)
	require.Equal(b, engine.Normalize(o.State), o.State, "an observation is normalized")
	require.Len(b, o.Stats, len(o.Peers), "each peer has its stats")
	if f, ok := b.device.(engine.Fingerprinter); ok {
		mark, err := f.Fingerprint(b.Context())
		require.NoError(b, err)
		require.Equal(b, engine.FingerprintOf(o.State), mark, "the fingerprint is of what was observed")
	}
	if h, ok := b.device.(engine.Hosted); ok {
		i := engine.Interface{}
		require.NoError(b, h.ReadHost(b.Context(), &i))
		require.Equal(b, engine.Interface{Addresses: o.Interface.Addresses, MTU: o.Interface.MTU}, i)
	}
	return o
}

// want makes the peers so, through engine.Apply, and checks that they are.
func (b bench) want(peers ...engine.Peer) engine.Observation {
	b.Helper()
	before := b.observe().State
	want := before
	want.Peers = engine.NormalizePeers(peers)
	require.NoError(b, engine.Validate(want))
	o, err := engine.Apply(b.Context(), b.device, before, engine.Diff(before, want, engine.DiffOptions{RemoveUnknown: true}))
	require.NoError(b, err)
	require.Empty(b, engine.DiffPeers(o.Peers, want.Peers, engine.DiffOptions{RemoveUnknown: true}))
	require.Equal(b, o.Peers, b.observe().Peers, "what Apply returns is what is there")
	return o
}

func plain(t *testing.T) engine.Interface {
	return engine.Interface{Name: "wgt0", PrivateKey: PrivateKey(t)}
}

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return engine.NormalizePrefixes(out)
}

func createAndObserve(t *testing.T, b engine.Backend) {
	i := plain(t)
	i.Addresses = []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix("fd00:77::1/64")}
	i.MTU = 1400
	o := newBench(t, b, i).observe()
	require.NotZero(t, o.Interface.ListenPort, "a port of 0 is chosen and read back")
	i.ListenPort = o.Interface.ListenPort
	require.Equal(t, engine.State{Interface: i, Peers: []engine.Peer{}}, o.State)
}

func namesAndAttach(t *testing.T, b engine.Backend) {
	names, err := b.Names(t.Context())
	require.NoError(t, err)
	require.NotContains(t, names, "wgt0")
	_, err = b.Attach(t.Context(), "wgt0")
	require.ErrorIs(t, err, engine.ErrUnknownInterface)

	first := newBench(t, b, plain(t))
	other := plain(t)
	other.Name = "wgt1"
	newBench(t, b, other)
	names, err = b.Names(t.Context())
	require.NoError(t, err)
	require.Subset(t, names, []string{"wgt0", "wgt1"})
	require.IsIncreasing(t, names)

	same, err := b.Attach(t.Context(), "wgt0")
	require.NoError(t, err)
	o, err := same.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.observe(), o)
}

func refusalsOfCreate(t *testing.T, b engine.Backend) {
	newBench(t, b, plain(t))
	_, err := b.Create(t.Context(), plain(t))
	require.ErrorIs(t, err, engine.ErrInterfaceExists)
	require.ErrorContains(t, err, "wgt0")

	var field *engine.FieldError
	_, err = b.Create(t.Context(), engine.Interface{Name: "../x"})
	require.ErrorAs(t, err, &field)
	_, err = b.Create(t.Context(), engine.Interface{Name: "wgt1", MTU: 1})
	require.ErrorAs(t, err, &field)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = b.Create(over, engine.Interface{Name: "wgt1"})
	require.ErrorIs(t, err, context.Canceled)
	_, err = b.Attach(t.Context(), "wgt1")
	require.ErrorIs(t, err, engine.ErrUnknownInterface, "a failed Create leaves nothing")
}

func portInUse(t *testing.T, b engine.Backend) {
	first := newBench(t, b, plain(t))
	other := plain(t)
	other.Name, other.ListenPort = "wgt1", first.observe().Interface.ListenPort
	_, err := b.Create(t.Context(), other)
	require.ErrorIs(t, err, engine.ErrPortInUse)
	require.ErrorContains(t, err, fmt.Sprint(other.ListenPort))
	_, err = b.Attach(t.Context(), "wgt1")
	require.ErrorIs(t, err, engine.ErrUnknownInterface)

	require.NoError(t, first.device.Close(t.Context()))
	newBench(t, b, other)
}

func closeTwice(t *testing.T, b engine.Backend) {
	i := plain(t)
	d, err := b.Create(t.Context(), i)
	require.NoError(t, err)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { _ = d.Close(context.Background()) })
	}
	all.Wait()
	require.NoError(t, d.Close(t.Context()))
	_, err = d.Observe(t.Context())
	require.ErrorIs(t, err, engine.ErrClosed)
	peer := Peers(1)[0]
	err = d.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{After: &peer}}})
	require.ErrorIs(t, err, engine.ErrClosed)
	_, err = b.Attach(t.Context(), i.Name)
	require.ErrorIs(t, err, engine.ErrUnknownInterface)
	require.Empty(t, newBench(t, b, i).observe().Peers, "the name is free again, the peers are gone")
}

func addUpdateRemove(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	full := engine.Peer{
		PublicKey: PeerKey(0), PresharedKey: PresharedKey(t), PersistentKeepalive: 25,
		AllowedIPs: prefixes("10.8.0.2/32", "fd00::2/128", "192.168.7.0/24", "0.0.0.0/0"),
		Endpoint:   netip.MustParseAddrPort("127.0.0.1:9"),
	}
	other := engine.Peer{PublicKey: PeerKey(1), AllowedIPs: prefixes("10.8.0.3/32")}
	o := x.want(full, other)
	got, ok := engine.Lookup(o.Peers, full.PublicKey)
	require.True(t, ok)
	require.Equal(t, full, got)
	require.True(t, o.Stats[full.PublicKey].LastHandshake.IsZero())
	require.Equal(t, full.Endpoint, o.Stats[full.PublicKey].Endpoint)

	full.PresharedKey, full.PersistentKeepalive = PresharedKey(t), 10
	full.AllowedIPs = prefixes("10.8.0.2/32", "10.9.0.0/16", "fd00:1::/64")
	full.Endpoint = netip.MustParseAddrPort("[::1]:19")
	got, _ = engine.Lookup(x.want(full, other).Peers, full.PublicKey)
	require.Equal(t, full, got)
	x.want(full)
	x.want()

	err := x.device.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{Before: &full}}})
	require.NoError(t, err, "removing a peer that is gone is no failure")
	update := full
	update.PersistentKeepalive = 1
	// It may say that the peer is gone, or pass over it.
	_ = x.device.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{Before: &full, After: &update}}})
	require.Empty(t, x.observe().Peers, "an update never makes a peer that is gone")
}

func clearFields(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	p := Peers(1)[0]
	p.PresharedKey, p.PersistentKeepalive = PresharedKey(t), 25
	p.Endpoint = netip.MustParseAddrPort("127.0.0.1:9")
	x.want(p)
	p.PresharedKey = engine.SecretKey{}
	x.want(p)
	p.PersistentKeepalive = 0
	x.want(p)
	p.AllowedIPs = []netip.Prefix{}
	o := x.want(p)
	require.Empty(t, o.Peers[0].AllowedIPs)
	p.Endpoint = netip.AddrPort{}
	o = x.want(p)
	require.Equal(t, "127.0.0.1:9", o.Peers[0].Endpoint.String(), "an endpoint that is not given stays")
}

func prefixMoves(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	peers := Peers(3)
	x.want(peers...)
	for i := range peers { // a ring: each takes what the next had
		peers[i].AllowedIPs = Peers(3)[(i+1)%3].AllowedIPs
	}
	x.want(peers...)
	peers[0].AllowedIPs = prefixes(append(strings(peers[0]), strings(peers[2])...)...)
	peers[2].AllowedIPs = []netip.Prefix{}
	x.want(peers...)
	peers[2].AllowedIPs, peers[0].AllowedIPs = peers[0].AllowedIPs, []netip.Prefix{}
	x.want(peers...)

	// Without Validate the last one wins, as it does in WireGuard, and the reading says so.
	thief := peers[1]
	thief.AllowedIPs = peers[2].AllowedIPs
	require.NoError(t, x.device.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{Before: &peers[1], After: &thief}}}))
	robbed, _ := engine.Lookup(x.observe().Peers, peers[2].PublicKey)
	require.Empty(t, robbed.AllowedIPs)
}

func strings(p engine.Peer) []string {
	out := make([]string, len(p.AllowedIPs))
	for i, ip := range p.AllowedIPs {
		out[i] = ip.String()
	}
	return out
}

// freePort finds a UDP port that nobody has. Somebody may take it before the test does.
func freePort(t *testing.T) uint16 {
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String()).Port()
}
