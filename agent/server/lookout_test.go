package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// others is the fake host as one that other programs write to: no device is owned.
type others struct {
	*enginetest.Fake
	prints       bool         // its devices have fingerprints
	cost         atomic.Int64 // of each look
	looks, reads atomic.Int64 // fingerprints, and full reads
	fail         atomic.Pointer[error]
}

type othersDevice struct {
	engine.Device
	host *others
}

func (o *others) wrap(d engine.Device, err error) (engine.Device, error) {
	if err != nil {
		return nil, err
	}
	if o.prints {
		return printedDevice{othersDevice{d, o}}, nil
	}
	return othersDevice{d, o}, nil
}

func (o *others) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	return o.wrap(o.Fake.Create(ctx, i))
}

func (o *others) Attach(ctx context.Context, name string) (engine.Device, error) {
	return o.wrap(o.Fake.Attach(ctx, name))
}

func (o *others) look() error {
	<-time.After(time.Duration(o.cost.Load()))
	if err := o.fail.Load(); err != nil {
		return *err
	}
	return nil
}

func (d othersDevice) Observe(ctx context.Context) (engine.Observation, error) {
	d.host.reads.Add(1)
	if err := d.host.look(); err != nil {
		return engine.Observation{}, err
	}
	return d.Device.Observe(ctx)
}

type printedDevice struct{ othersDevice }

func (d printedDevice) Fingerprint(ctx context.Context) (engine.Fingerprint, error) {
	d.host.looks.Add(1)
	if err := d.host.look(); err != nil {
		return engine.Fingerprint{}, err
	}
	o, err := d.Device.Observe(ctx)
	return engine.FingerprintOf(o.State), err
}

// inBubble runs an agent with wg0 up and without a network; its clock is the bubble's. others is nil
// where the agent owns its devices.
func inBubble(t *testing.T, host *others, run func(t *testing.T, n *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &node{t: t, logs: &syncBuffer{}, answers: &syncBuffer{}}
		n.o = Options{
			Backend: enginetest.NewFake(), ConfDir: filepath.Join(t.TempDir(), "conf"), DataDir: filepath.Join(t.TempDir(), "data"),
			Secret: testSecret, Logger: slog.New(slog.NewJSONHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		if host != nil {
			host.Fake = enginetest.NewFake()
			n.o.Backend = host
		}
		require.NoError(t, os.MkdirAll(n.o.ConfDir, 0o700))
		writeConf(t, &n.o, "wg0", basicConf(t))
		var err error
		n.server, err = New(n.o)
		require.NoError(t, err)
		n.o.Up = nil
		require.NoError(t, n.server.Start(t.Context()))
		defer func() {
			require.NoError(t, n.server.Close(context.Background(), true))
			require.Empty(t, n.server.lookouts, "nobody looks any longer")
		}()
		n.mustCall("POST", "/v1/wg/wg0/enable", nil)
		run(t, n)
	})
}

func (n *node) mustCall(method, target string, body any) *httptest.ResponseRecorder {
	n.t.Helper()
	w := n.call(method, target, encode(n.t, body))
	require.Equal(n.t, 200, w.Code, w.Body)
	return w
}

// write is another program's change of a peer.
func (n *node) write(p int) {
	n.t.Helper()
	after := engine.Peer{PublicKey: enginetest.PeerKey(p), AllowedIPs: []netip.Prefix{netip.PrefixFrom(enginetest.PeerIP(p), 32)}}
	require.NoError(n.t, n.inner().Write(engine.Changes{Peers: []engine.PeerChange{{After: &after}}}))
}

func (n *node) inner() *enginetest.FakeDevice {
	n.t.Helper()
	f, ok := n.o.Backend.(*enginetest.Fake)
	if !ok {
		f = n.o.Backend.(*others).Fake
	}
	d, err := f.Device("wg0")
	require.NoError(n.t, err)
	return d
}

// port is another program's change of the interface.
func (n *node) port(port uint16) {
	n.t.Helper()
	o, err := n.inner().Observe(n.t.Context())
	require.NoError(n.t, err)
	after := o.Interface
	after.ListenPort = port
	require.NoError(n.t, n.inner().Write(engine.Changes{Interface: &engine.InterfaceChange{Before: o.Interface, After: after}}))
}

// held is a request that waits.
type held struct {
	*httptest.ResponseRecorder
	n      *node
	hangUp context.CancelFunc
	began  time.Time
	done   chan struct{}
	took   time.Duration
}

// hold begins to wait with a tag, and returns when the bubble is at rest.
func (n *node) hold(tag string, headers ...string) *held {
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{ResponseRecorder: httptest.NewRecorder(), n: n, hangUp: cancel, began: time.Now(), done: make(chan struct{})}
	go func() {
		defer close(h.done)
		defer cancel()
		n.callWith(ctx, h.ResponseRecorder, "GET", dumpPath, nil, append([]string{"If-None-Match", tag, "Prefer", "wait=60"}, headers...)...)
		h.took = time.Since(h.began)
	}()
	synctest.Wait()
	return h
}

func (h *held) waits() bool {
	synctest.Wait()
	select {
	case <-h.done:
		return false
	default:
		return true
	}
}

// ends waits for the answer and checks its status and that it came within a time.
func (h *held) ends(status int, within time.Duration) {
	h.n.t.Helper()
	<-h.done
	require.Equal(h.n.t, status, h.Code, h.Body)
	require.LessOrEqual(h.n.t, h.took, within)
}

func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// now returns the tag and the interface's digest as a fresh request finds them.
func (n *node) fresh() (tag, iface string) {
	n.t.Helper()
	h := n.mustCall("GET", dumpPath, nil).Header()
	return h.Get("ETag"), h.Get(agent.HeaderInterfaceDigest)
}

func TestHoldersShareOneLookout(t *testing.T) {
	host := &others{prints: true}
	inBubble(t, host, func(t *testing.T, n *node) {
		tag, _ := n.fresh()
		quiet := func(what string) {
			t.Helper()
			looks, reads := host.looks.Load(), host.reads.Load()
			elapse(10 * time.Minute)
			require.Equal(t, [2]int64{looks, reads}, [2]int64{host.looks.Load(), host.reads.Load()}, what)
		}
		quiet("nobody was held yet")
		looks, reads := host.looks.Load(), host.reads.Load()
		var all []*held
		for range 50 {
			all = append(all, n.hold(tag))
		}
		elapse(10*time.Second + time.Millisecond)
		require.EqualValues(t, 11, host.looks.Load()-looks, "one at once and one each second, whoever waits")
		require.EqualValues(t, 1, host.reads.Load()-reads, "the device is read once")
		require.Equal(t, 50, n.polls())

		n.write(3)
		for _, h := range all {
			h.ends(200, 11*time.Second)
			require.NotEqual(t, tag, h.Header().Get("ETag"))
			require.Contains(t, h.Body.String(), key(3))
		}
		quiet("the last one has left")
	})
}

func TestLooksRestWhatTheyCost(t *testing.T) {
	for cost, want := range map[time.Duration]time.Duration{
		0: time.Second, 20 * time.Millisecond: time.Second, 30 * time.Millisecond: 1500 * time.Millisecond, 80 * time.Millisecond: maxPause, time.Minute: maxPause,
	} {
		require.Equal(t, want, pauseAfter(cost), cost)
	}
	for _, test := range []struct {
		cost  time.Duration
		looks int64
	}{{0, 59}, {30 * time.Millisecond, 39}, {100 * time.Millisecond, 14}, {500 * time.Millisecond, 13}} {
		t.Run(test.cost.String(), func(t *testing.T) {
			host := &others{prints: true}
			inBubble(t, host, func(t *testing.T, n *node) {
				tag, _ := n.fresh()
				host.cost.Store(int64(test.cost))
				h := n.hold(tag)
				looks := host.looks.Load()
				elapse(59 * time.Second)
				require.InDelta(t, test.looks, host.looks.Load()-looks, 2)
				h.hangUp()
				<-h.done

				tag, _ = n.fresh()
				h = n.hold(tag)
				elapse(9 * time.Second)
				n.write(2)
				begin := time.Now()
				h.ends(200, time.Minute)
				require.LessOrEqual(t, time.Since(begin), 5*time.Second+3*test.cost, "the reads of the answer are not the lookout's")
			})
		})
	}
}

// eachHost runs a test on devices that the agent owns, on others', and on others' with fingerprints.
func eachHost(t *testing.T, run func(t *testing.T, n *node)) {
	t.Helper()
	for name, host := range map[string]*others{"owned": nil, "read": {}, "fingerprint": {prints: true}} {
		t.Run(name, func(t *testing.T) { inBubble(t, host, run) })
	}
}

// TestEveryEndOfAWait on every kind of device.
func TestEveryEndOfAWait(t *testing.T) {
	eachHost(t, func(t *testing.T, n *node) {
		tag, iface := n.fresh()
		next := func() { tag, iface = n.fresh() }

		n.hold(tag).ends(304, time.Minute)
		h := n.hold(tag)
		elapse(59 * time.Second)
		require.True(t, h.waits())
		h.ends(304, time.Minute)
		require.Equal(t, time.Minute, h.took, "it has the whole time")
		require.Equal(t, [2]string{tag, iface}, [2]string{h.Header().Get("ETag"), h.Header().Get(agent.HeaderInterfaceDigest)})
		require.NotEmpty(t, h.Header().Get(agent.HeaderResponseSignature))

		n.write(1) // before we listen
		n.hold(tag).ends(200, 0)
		next()
		h = n.hold(tag)
		n.write(2)
		h.ends(200, time.Second)
		next()
		h = n.hold(tag)
		n.mustCall("POST", peersPath, peer(4)) // through the agent
		h.ends(200, 0)
		next()

		h = n.hold(tag)
		n.port(4444)
		h.ends(304, time.Second)
		require.NotEqual(t, iface, h.Header().Get(agent.HeaderInterfaceDigest))
		h = n.hold(tag, agent.HeaderInterfaceDigest, iface) // what changed of the interface before we listen
		h.ends(304, 0)
		next()
		require.Equal(t, iface, h.Header().Get(agent.HeaderInterfaceDigest))
		h = n.hold(tag, agent.HeaderInterfaceDigest, iface)
		elapse(5 * time.Second)
		require.True(t, h.waits())
		n.mustCall("PUT", configPath, map[string]any{"listen_port": 5555})
		h.ends(304, 5*time.Second)
		next()

		first, second := n.hold(tag), n.hold(`"other", `+tag)
		first.hangUp()
		require.False(t, first.waits())
		require.True(t, second.waits(), "another one's wait goes on")
		second.hangUp()
		<-second.done
		require.Empty(t, n.server.lookouts)

		h = n.hold(tag)
		n.mustCall("POST", "/v1/wg/wg0/disable", nil)
		h.sameAsFresh(agent.CodeInterfaceDown, 0)
		n.mustCall("POST", "/v1/wg/wg0/enable", nil)
		next()
		h = n.hold(tag)
		require.NoError(t, n.inner().Close(t.Context()))
		h.sameAsFresh(agent.CodeInterfaceDown, time.Second)
		n.mustCall("POST", "/v1/wg/wg0/enable", nil)
		next()
		h = n.hold(tag)
		n.mustCall("DELETE", "/v1/wg/wg0", nil)
		<-h.done
		require.Contains(t, []int{404, 409}, h.Code, "the device goes first, and then the name")
		n.hold(tag).sameAsFresh(agent.CodeUnknownInterface, 0)
	})
}

// sameAsFresh checks that the wait ended with the error that a fresh request finds.
func (h *held) sameAsFresh(code agent.Code, within time.Duration) {
	h.n.t.Helper()
	h.ends(code.Status(), within)
	fresh := h.n.call("GET", dumpPath, nil)
	require.Equal(h.n.t, [2]string{fresh.Body.String(), fresh.Result().Status}, [2]string{h.Body.String(), h.Result().Status})
	require.Contains(h.n.t, h.Body.String(), `"`+string(code)+`"`)
}

// TestAChangeAtTheDeadline: a look and a deadline at the same time; a 304 names the digest that was
// asked about.
func TestAChangeAtTheDeadline(t *testing.T) {
	inBubble(t, &others{prints: true}, func(t *testing.T, n *node) {
		for i := range 30 {
			tag, _ := n.fresh()
			h := n.hold(tag)
			elapse(59500 * time.Millisecond)
			n.write(i)
			<-h.done
			if h.Code == 304 {
				require.Equal(t, tag, h.Header().Get("ETag"))
			}
		}
	})
}

func TestAStopLetsGoAtOnce(t *testing.T) {
	eachHost(t, func(t *testing.T, n *node) {
		tag, _ := n.fresh()
		h := n.hold(tag)
		n.server.letGo()
		h.ends(304, 0)
		n.hold(tag).ends(304, 0) // nor is anybody held from now on
		n.mustCall("POST", peersPath, peer(1))
		n.hold(tag).ends(200, 0)
	})
	inBubble(t, nil, func(t *testing.T, n *node) {
		tag, _ := n.fresh()
		h := n.hold(tag)
		require.NoError(t, n.server.Close(t.Context(), false))
		h.ends(304, 0)
	})
}

// TestATornReadIsNoChange, nor the word that nothing changed.
func TestATornReadIsNoChange(t *testing.T) {
	inBubble(t, &others{}, func(t *testing.T, n *node) {
		n.mustCall("POST", peersPath, peer(1))
		tag, _ := n.fresh()
		var torn, turn atomic.Int64 // of this many reads from now on, every other one loses the peers
		n.inner().OnObserve(func(o *engine.Observation) error {
			if torn.Load() > 0 {
				if turn.Add(1)%2 == 1 {
					o.Peers = nil
				}
				torn.Add(-1)
			}
			return nil
		})
		h := n.hold(tag)
		elapse(5 * time.Second)
		for range 3 {
			torn.Store(1)
			turn.Store(0)
			elapse(5 * time.Second)
			require.True(t, h.waits(), "one torn read")
			torn.Store(2)
			turn.Store(0)
			elapse(5 * time.Second)
			require.True(t, h.waits(), "two reads that differ")
		}
		h.ends(304, time.Minute)

		h = n.hold(tag)
		torn.Store(1 << 40)
		elapse(59 * time.Second)
		require.True(t, h.waits())
		torn.Store(0)
		n.write(7) // after the last look: nobody has seen it
		h.ends(200, time.Minute)
		require.Contains(t, h.Body.String(), key(7), "where reads did not agree, a fresh one answers")
	})
}

func TestAFailedLook(t *testing.T) {
	for name, host := range map[string]*others{"read": {}, "fingerprint": {prints: true}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, host, func(t *testing.T, n *node) {
				tag, _ := n.fresh()
				h := n.hold(tag)
				elapse(5 * time.Second)
				once := true
				n.inner().OnObserve(func(*engine.Observation) error {
					if once {
						once = false
						return errors.New("interrupted")
					}
					return nil
				})
				elapse(5 * time.Second)
				require.False(t, once)
				require.True(t, h.waits(), "it is tried again at once")

				broken := errors.New("the device is on fire")
				host.fail.Store(&broken)
				h.sameAsFresh(agent.CodeInternal, 11*time.Second)
				host.fail.Store(nil)
				n.hold(tag).ends(304, time.Minute)

				_, leave := n.server.join("wg0") // one who is slow to go
				elapse(time.Second)
				host.fail.Store(&broken)
				elapse(5 * time.Second)
				host.fail.Store(nil)
				n.hold(tag).ends(304, time.Minute) // is no reason to tell the next one of an old failure
				leave()
			})
		})
	}
}

// TestALookThatHangsVouchesForNothing: the answer at the deadline is that of a fresh read.
func TestALookThatHangsVouchesForNothing(t *testing.T) {
	host := &others{prints: true}
	inBubble(t, host, func(t *testing.T, n *node) {
		tag, _ := n.fresh()
		h := n.hold(tag)
		elapse(5 * time.Second)
		host.cost.Store(int64(time.Hour))
		elapse(2 * time.Second)
		n.write(1)
		host.cost.Store(0)
		h.ends(200, time.Minute)
		require.Equal(t, http.StatusOK, h.Code)
		elapse(time.Hour)
	})
}

// TestWritesOfOurOwnAreNotLookedAt: the one who wrote read back, and a storm of writes costs no looks.
func TestWritesOfOurOwnAreNotLookedAt(t *testing.T) {
	host := &others{prints: true}
	inBubble(t, host, func(t *testing.T, n *node) {
		tags := ""
		for i := range 20 {
			n.mustCall("POST", peersPath, peer(i))
			tag, _ := n.fresh()
			tags += tag + ", "
			n.mustCall("DELETE", peersPath+"/"+key(i), nil)
		}
		empty, _ := n.fresh()
		h := n.hold(tags + empty)
		looks := host.looks.Load()
		for i := range 20 {
			n.mustCall("POST", peersPath, peer(i))
			n.mustCall("DELETE", peersPath+"/"+key(i), nil)
			require.True(t, h.waits())
		}
		require.Equal(t, looks, host.looks.Load())
		n.mustCall("POST", peersPath, peer(33))
		h.ends(200, 0)
	})
}

// hostedDevice is an owned device whose addresses the host may change.
type hostedDevice struct {
	engine.Owned
	addresses *atomic.Pointer[[]netip.Prefix]
}

func (d hostedDevice) ReadHost(_ context.Context, i *engine.Interface) error {
	i.Addresses = *d.addresses.Load()
	return nil
}

func (d hostedDevice) Observe(ctx context.Context) (engine.Observation, error) {
	o, err := d.Owned.Observe(ctx)
	o.Interface.Addresses = *d.addresses.Load()
	return o, err
}

type hosted struct {
	*enginetest.Fake
	addresses atomic.Pointer[[]netip.Prefix]
}

func (h *hosted) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	d, err := h.Fake.Create(ctx, i)
	if err != nil {
		return nil, err
	}
	return hostedDevice{d.(engine.Owned), &h.addresses}, nil
}

// TestAddressesThatTheHostChanges: they move no revision, and are found all the same by every kind of request.
func TestAddressesThatTheHostChanges(t *testing.T) {
	h := &hosted{Fake: enginetest.NewFake()}
	address := func(a string) { h.addresses.Store(&[]netip.Prefix{netip.MustParsePrefix(a)}) }
	address("10.8.0.1/24")
	n := newNode(t, func(o *Options) {
		o.Backend = h
		writeConf(t, o, "wg0", basicConf(t))
	})
	_, r := n.dump()
	iface := r.header.Get(agent.HeaderInterfaceDigest)
	for i, ask := range map[string]func() reply{
		"10.8.0.2/24": func() reply { return n.do("GET", dumpPath, nil) },
		"10.8.0.3/24": func() reply { return n.do("GET", dumpPath, nil, header("If-None-Match", n.tag())) },
		"10.8.0.4/24": func() reply {
			return n.do("GET", dumpPath, nil, header("If-None-Match", r.header.Get("ETag")), header("Prefer", "wait=60"), header(agent.HeaderInterfaceDigest, iface))
		},
	} {
		address(i)
		now := ask().header.Get(agent.HeaderInterfaceDigest)
		require.NotEqual(t, iface, now, i)
		iface = now
	}
	address("10.8.0.5/24")
	var list agent.Interfaces
	n.mustDo("GET", "/v1/wg", nil).decode(t, &list)
	require.Equal(t, []string{"10.8.0.5/24"}, list.Interfaces[0].Addresses)
}
