package panel

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/store"
	"github.com/wgfleet/wgfleet/store/backup/backuptest"
)

func TestMain(m *testing.M) {
	backuptest.Cheap()
	goleak.VerifyTestMain(m)
}

const testSecret agent.Secret = "a shared secret for the tests of the panel"

// buffer collects what several goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// host is a real agent on a fake device, behind a proxy that can turn on the panel.
type host struct {
	t      testing.TB
	conf   string // the interface's file
	fake   *enginetest.Fake
	agent  *server.Server
	direct *httptest.Server
	proxy  *httptest.Server
	writes atomic.Int64 // requests that change something
	calls  atomic.Int64
	edit   atomic.Pointer[func(*http.Response) error]
	cut    atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newHost(t testing.TB, edit func(*server.Options)) *host {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "conf")
	h := &host{t: t, conf: filepath.Join(conf, "wg0.conf"), fake: enginetest.NewFake()}
	require.NoError(t, os.MkdirAll(conf, 0o700))
	file := "[Interface]\nPrivateKey = " + testKey("node").Reveal().String() + "\nListenPort = 51820\nAddress = 10.8.0.1/24\nMTU = 1420\n"
	require.NoError(t, os.WriteFile(h.conf, []byte(file), 0o600))
	o := server.Options{
		Backend: h.fake, ConfDir: conf, DataDir: filepath.Join(t.TempDir(), "data"), Secret: testSecret, Up: []string{server.UpAll}, Version: "test",
	}
	if edit != nil {
		edit(&o)
	}
	var err error
	h.agent, err = server.New(o)
	require.NoError(t, err)
	require.NoError(t, h.agent.Start(t.Context()))
	h.direct = httptest.NewServer(h.agent.Handler())
	u, err := url.Parse(h.direct.URL)
	require.NoError(t, err)
	h.honest()
	transport := &http.Transport{DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }, Transport: transport,
		ModifyResponse: func(r *http.Response) error { return (*h.edit.Load())(r) },
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	h.proxy = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.calls.Add(1)
		if r.Method != http.MethodGet {
			h.writes.Add(1)
		}
		if !(*h.cut.Load())(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		h.proxy.Close()
		transport.CloseIdleConnections()
		h.direct.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, h.agent.Close(ctx, true))
	})
	return h
}

func (h *host) honest() {
	h.edit.Store(new(func(*http.Response) error { return nil }))
	h.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { return false }))
}

// peers reads the device itself.
func (h *host) peers() []engine.Peer {
	h.t.Helper()
	d, err := h.fake.Device("wg0")
	require.NoError(h.t, err)
	o, err := d.Observe(h.t.Context())
	require.NoError(h.t, err)
	for i := range o.Peers {
		o.Peers[i].Endpoint = engine.Peer{}.Endpoint
	}
	return o.Peers
}

func (h *host) peer(key wgtypes.Key) (engine.Peer, bool) { return engine.Lookup(h.peers(), key) }

// write is somebody else's change of the device, past agent and panel.
func (h *host) write(changes ...engine.PeerChange) {
	h.t.Helper()
	d, err := h.fake.Device("wg0")
	require.NoError(h.t, err)
	require.NoError(h.t, d.Write(engine.Changes{Peers: changes}))
}

// editFile is somebody's edit of the file on the host.
func (h *host) editFile(from, to string) {
	h.t.Helper()
	text, err := os.ReadFile(h.conf)
	require.NoError(h.t, err)
	require.Contains(h.t, string(text), from)
	require.NoError(h.t, os.WriteFile(h.conf, []byte(strings.Replace(string(text), from, to, 1)), 0o600))
}

func testKey(name string) engine.SecretKey {
	var k wgtypes.Key
	copy(k[:], "test key "+name)
	return engine.NewSecretKey(k).Clamped()
}

func publicKey(name string) wgtypes.Key { return testKey(name).PublicKey() }

// world is a panel with one node.
type world struct {
	*host
	*Service
	id    string
	store store.Store
	logs  *buffer
}

func newService(t testing.TB, edit func(*Options)) (*Service, store.Store, *buffer) {
	t.Helper()
	st, err := store.OpenInMemory(store.NewMasterKey())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	logs := &buffer{}
	dial := func(n Node) (Agent, error) {
		return client.New(client.Options{
			BaseURL: n.AgentURL, Secret: n.Secret, AgentID: n.AgentID, SpeaksV2: n.SpeaksV2,
			AllowPlainSecrets: n.AllowPlainSecrets, TLS: client.TLS{Pin: n.TLSPin},
		})
	}
	o := Options{Store: st, Dial: dial, Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if edit != nil {
		edit(&o)
	}
	s, err := New(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s, st, logs
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{host: newHost(t, nil)}
	w.Service, w.store, w.logs = newService(t, nil)
	n, made, err := w.CreateNode(t.Context(), NodeInput{
		Name: new("n1"), AgentURL: &w.proxy.URL, Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24, fd00:8::/64"), Endpoint: new("vpn.example.com"),
	})
	require.NoError(t, err)
	require.Empty(t, made)
	require.Zero(t, w.calls.Load(), "creating a node contacts nobody")
	w.id = n.ID
	return w
}

func (w *world) create(name string, edit func(*PeerInput)) PeerView {
	w.t.Helper()
	in := PeerInput{Name: &name}
	if edit != nil {
		edit(&in)
	}
	p, err := w.CreatePeer(w.t.Context(), w.id, in)
	require.NoError(w.t, err)
	return p
}

func set[T any](v T) Optional[T] { return Optional[T]{Set: true, Value: &v} }

func cleared[T any]() Optional[T] { return Optional[T]{Set: true} }
