package server

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// vpnWorld is an agent in a bubble of its own time, without HTTP: wg0 has a peer at vpn.example.com, one
// at an address, and one without an endpoint.
type vpnWorld struct {
	t     *testing.T
	s     *Server
	o     Options
	names *nameServer
	fake  *enginetest.FakeDevice
	logs  *syncBuffer
}

func inVPNWorld(t *testing.T, addrs string, test func(*vpnWorld)) {
	synctest.Test(t, func(t *testing.T) {
		w := &vpnWorld{t: t, names: newNameServer(map[string]string{"vpn.example.com": addrs}), logs: &syncBuffer{}}
		w.o = Options{
			Backend: enginetest.NewFake(), ConfDir: t.TempDir(), DataDir: t.TempDir(), Secret: testSecret,
			Resolver: w.names, Logger: slog.New(slog.NewTextHandler(w.logs, nil)),
		}
		writeConf(t, &w.o, "wg0", basicConf(t)+
			section(1, namedEndpoint+"PersistentKeepalive = 25\n")+section(2, "Endpoint = 198.51.100.1:7\n")+section(3, ""))
		w.start()
		defer func() { require.NoError(t, w.s.Close(context.Background(), true)) }()
		test(w)
	})
}

func (w *vpnWorld) start() {
	w.t.Helper()
	var err error
	w.s, err = New(w.o)
	require.NoError(w.t, err)
	require.NoError(w.t, w.s.Start(w.t.Context()))
	w.fake, err = w.o.Backend.(*enginetest.Fake).Device("wg0")
	require.NoError(w.t, err)
}

// shake is a handshake of the peer, so long ago, at that endpoint.
func (w *vpnWorld) shake(n int, ago time.Duration, endpoint string) {
	w.t.Helper()
	require.True(w.t, w.fake.SetStats(enginetest.PeerKey(n), engine.Stats{
		Endpoint: netip.MustParseAddrPort(endpoint), LastHandshake: time.Now().Add(-ago), RxBytes: 5,
	}))
}

func (w *vpnWorld) peers() []engine.Peer {
	w.t.Helper()
	o, err := w.fake.Observe(w.t.Context())
	require.NoError(w.t, err)
	return o.Peers
}

func (w *vpnWorld) endpoint(n int) string {
	w.t.Helper()
	p, there := engine.Lookup(w.peers(), enginetest.PeerKey(n))
	require.True(w.t, there)
	if !p.Endpoint.IsValid() {
		return ""
	}
	return p.Endpoint.String()
}

func (w *vpnWorld) conf() string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.o.ConfDir, "wg0.conf"))
	require.NoError(w.t, err)
	return string(data)
}

// pass lets the clock of a synctest bubble go on.
func pass(d time.Duration) { <-time.After(d) }

// onePass is long enough for one pass, and too short for three.
const onePass = reresolvePause + reresolveJitter

func TestStaleEndpointMovesWithItsName(t *testing.T) {
	inVPNWorld(t, "192.0.2.1", func(w *vpnWorld) {
		was, conf, digest := w.peers(), w.conf(), engine.Digest(w.peers(), engine.MACKey{})
		w.names.set("vpn.example.com", "192.0.2.9")
		for _, fresh := range []time.Duration{0, time.Minute, staleHandshake - onePass} {
			w.shake(1, fresh, "192.0.2.1:51820")
			asked, steps := w.names.questions("vpn.example.com"), w.fake.Steps()
			pass(onePass)
			require.Equal(t, asked, w.names.questions("vpn.example.com"), "the session is alive")
			require.Equal(t, steps, w.fake.Steps())
		}
		w.shake(1, staleHandshake, "192.0.2.1:51820")
		steps, configures := w.fake.Steps(), w.fake.Configures()
		pass(onePass)
		require.Equal(t, "192.0.2.9:51820", w.endpoint(1))
		require.Equal(t, steps+2, w.fake.Steps(), "the peer is found, its endpoint set: nothing else")
		require.Equal(t, configures+1, w.fake.Configures())
		now := w.peers()
		require.Equal(t, digest, engine.Digest(now, engine.MACKey{}))
		require.Len(t, now, 3)
		for i := range now {
			now[i].Endpoint = was[i].Endpoint
		}
		require.Equal(t, was, now)
		require.Equal(t, conf, w.conf(), "the file has the name")
		pass(10 * onePass)
		require.Equal(t, configures+1, w.fake.Configures(), "it is where its name points")
		require.Equal(t, 1, strings.Count(w.logs.String(), "moved with its host name"))
		require.Contains(t, w.logs.String(), "host=vpn.example.com")
		require.NotContains(t, w.logs.String(), secretText(enginetest.PrivateKey(t)))
	})
}

// TestOneOfSeveralAddressesStays: also where the order of the answer changes.
func TestOneOfSeveralAddressesStays(t *testing.T) {
	inVPNWorld(t, "192.0.2.1 192.0.2.2 2001:db8::1", func(w *vpnWorld) {
		w.shake(1, time.Hour, "[2001:db8::1]:51820")
		configures := w.fake.Configures()
		pass(2 * onePass)
		require.Equal(t, configures, w.fake.Configures())
		w.names.set("vpn.example.com", "192.0.2.7 2001:db8::7")
		pass(onePass)
		require.Equal(t, "[2001:db8::7]:51820", w.endpoint(1), "the family in use")
		w.names.set("vpn.example.com", "192.0.2.7")
		pass(onePass)
		require.Equal(t, "192.0.2.7:51820", w.endpoint(1))
	})
}

// TestNameThatFailedAtBoot: the interface is up all the same, the name is asked again at a calm pace and
// told once.
func TestNameThatFailedAtBoot(t *testing.T) {
	inVPNWorld(t, "", func(w *vpnWorld) {
		require.Empty(t, w.endpoint(1))
		require.Len(t, w.peers(), 3)
		began := w.names.questions("vpn.example.com")
		pass(time.Hour)
		asked := w.names.questions("vpn.example.com") - began
		require.LessOrEqual(t, asked, 121)
		require.Greater(t, asked, 90)
		require.Equal(t, 1, strings.Count(w.logs.String(), "can't be looked up"))
		w.names.set("vpn.example.com", "192.0.2.1")
		pass(onePass)
		require.Equal(t, "192.0.2.1:51820", w.endpoint(1))
		w.names.set("vpn.example.com", "")
		pass(3 * onePass)
		require.Equal(t, "192.0.2.1:51820", w.endpoint(1), "a failure changes nothing")
		require.Equal(t, 2, strings.Count(w.logs.String(), "can't be looked up"), "it changed since")
	})
}

// TestRestartLooksNamesUp: the last good state has the address of another day.
func TestRestartLooksNamesUp(t *testing.T) {
	inVPNWorld(t, "192.0.2.1", func(w *vpnWorld) {
		require.NoError(t, w.s.Close(w.t.Context(), true))
		w.names.set("vpn.example.com", "192.0.2.9")
		w.start()
		require.Equal(t, "192.0.2.1:51820", w.endpoint(1), "no start waits for a name server")
		pass(reresolveFirst + reresolveJitter)
		require.Equal(t, "192.0.2.9:51820", w.endpoint(1))
	})
}

// slowNames answers as its server does until its test acts while a name is looked up.
type slowNames struct {
	Resolver
	during atomic.Pointer[func()]
}

func (s *slowNames) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	during := s.during.Load()
	if during == nil {
		return s.Resolver.LookupNetIP(ctx, network, host)
	}
	(*during)()
	return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, nil
}

// TestWhatHappensDuringALookUp: a peer that went is not made again, one that is back stays where it is, and the
// slot is free.
func TestWhatHappensDuringALookUp(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*vpnWorld)
		want      string
	}{
		"nothing": {func(*vpnWorld) {}, "192.0.2.9:51820"},
		"back":    {func(w *vpnWorld) { w.shake(1, 0, "192.0.2.5:4") }, "192.0.2.5:4"},
		"gone": {func(w *vpnWorld) {
			require.NoError(w.t, w.fake.Write(engine.Changes{Peers: []engine.PeerChange{{Before: &engine.Peer{PublicKey: enginetest.PeerKey(1)}}}}))
		}, ""},
		"down": {func(w *vpnWorld) { require.NoError(w.t, w.fake.Close(w.t.Context())) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inVPNWorld(t, "192.0.2.1", func(w *vpnWorld) {
				require.NoError(w.t, w.s.Close(w.t.Context(), true))
				names := &slowNames{Resolver: w.names}
				w.o.Resolver = names
				w.start()
				var done atomic.Bool
				names.during.Store(new(func() {
					require.Empty(t, w.s.slotFor("wg0").busy)
					if done.CompareAndSwap(false, true) {
						c.meanwhile(w)
					}
				}))
				pass(2 * onePass)
				require.True(t, done.Load())
				o, err := w.fake.Observe(w.t.Context())
				if name == "down" {
					require.ErrorIs(t, err, engine.ErrClosed)
					return
				}
				p, there := engine.Lookup(o.Peers, enginetest.PeerKey(1))
				require.Equal(t, c.want != "", there)
				if there {
					require.Equal(t, c.want, p.Endpoint.String())
				}
			})
		})
	}
}

// TestNoWorkWithoutHostNames: the device is not read.
func TestNoWorkWithoutHostNames(t *testing.T) {
	inVPNWorld(t, "192.0.2.1", func(w *vpnWorld) {
		writeConf(t, &w.o, "wg0", basicConf(t)+section(2, "Endpoint = 198.51.100.1:7\n")) // another version
		pass(onePass)
		reads := 0
		w.fake.OnObserve(func(*engine.Observation) error { reads++; return nil })
		asked := w.names.questions("vpn.example.com")
		pass(10 * onePass)
		require.Zero(t, reads)
		require.Equal(t, asked, w.names.questions("vpn.example.com"))
		writeConf(t, &w.o, "wg0", basicConf(t)+section(1, namedEndpoint))
		w.names.set("vpn.example.com", "192.0.2.44")
		pass(onePass)
		require.Equal(t, "192.0.2.44:51820", w.endpoint(1), "the file has names again")
	})
}

// TestFileIsReadOnce: until something of it changes that can be seen from outside.
func TestFileIsReadOnce(t *testing.T) {
	inVPNWorld(t, "192.0.2.1", func(w *vpnWorld) {
		path := filepath.Join(w.o.ConfDir, "wg0.conf")
		info, err := os.Stat(path)
		require.NoError(t, err)
		pass(onePass)
		other := strings.Replace(w.conf(), "vpn.example.com", "dns.example.com", 1)
		require.NoError(t, os.WriteFile(path, []byte(other), 0o600))
		require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		asked := w.names.questions("vpn.example.com")
		pass(onePass)
		require.Greater(t, w.names.questions("vpn.example.com"), asked)
		require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime().Add(time.Nanosecond)))
		pass(onePass)
		require.Positive(t, w.names.questions("dns.example.com"))
	})
}
