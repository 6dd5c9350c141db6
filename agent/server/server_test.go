package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const testSecret agent.Secret = "a shared secret for tests"

// node is an agent on a listener of its own, with what a test needs around it.
type node struct {
	t       testing.TB
	o       Options
	server  *Server
	http    *httptest.Server
	client  *http.Client
	logs    *syncBuffer
	answers *syncBuffer
}

// syncBuffer collects what several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newNode starts an agent on the fake backend; edit changes the options.
func newNode(t testing.TB, edit func(*Options)) *node {
	t.Helper()
	n := &node{t: t, logs: &syncBuffer{}, answers: &syncBuffer{}}
	n.o = Options{
		Backend: enginetest.NewFake(), ConfDir: filepath.Join(t.TempDir(), "conf"), DataDir: filepath.Join(t.TempDir(), "data"),
		Secret: testSecret, Version: "test",
		Logger: slog.New(slog.NewJSONHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	require.NoError(t, os.MkdirAll(n.o.ConfDir, 0o700))
	if edit != nil {
		edit(&n.o)
	}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	s, err := New(n.o)
	require.NoError(n.t, err)
	require.NoError(n.t, s.Start(n.t.Context()))
	n.server = s
	n.http = httptest.NewUnstartedServer(s.Handler())
	n.http.Config.MaxHeaderBytes = maxHeaderBytes
	n.http.Start()
	n.client = n.http.Client()
}

func (n *node) stop() {
	if n.server == nil {
		return
	}
	n.http.Close()
	require.NoError(n.t, n.server.Close(context.Background(), true))
	n.server = nil
}

// restart stops the agent as a clean shutdown does and starts it anew.
func (n *node) restart() {
	n.t.Helper()
	n.stop()
	n.start()
}

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) decode(t testing.TB, v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.body, v), "%s", r.body)
}

func (r reply) code(t testing.TB) agent.Code {
	t.Helper()
	var e agent.Error
	r.decode(t, &e)
	return e.Code
}

type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// do sends a v2 request and checks the signature of its answer.
func (n *node) do(method, target string, body any, options ...option) reply {
	n.t.Helper()
	data := encode(n.t, body)
	nonce, stamp := agent.NewNonce(), strconv.FormatInt(n.now().Unix(), 10)
	r := n.request(method, target, data)
	r.Header.Set(agent.HeaderTimestamp, stamp)
	r.Header.Set(agent.HeaderNonce, nonce)
	r.Header.Set(agent.HeaderNode, n.server.ID())
	r.Header.Set(agent.HeaderSignature, n.o.Secret.SignV2(agent.Request{
		Method: method, Target: target, Body: data, Timestamp: stamp, Nonce: nonce, Node: n.server.ID(),
	}))
	for _, o := range options {
		o(r)
	}
	out := n.send(r)
	require.True(n.t, n.o.Secret.VerifyAnswer(agent.Answer{
		Status: out.status, Nonce: r.Header.Get(agent.HeaderNonce), ETag: out.header.Get("ETag"),
		InterfaceDigest: out.header.Get(agent.HeaderInterfaceDigest), Body: out.body,
	}, out.header.Get(agent.HeaderResponseSignature)), "the answer's signature: %d %s", out.status, out.body)
	return out
}

// doV1 sends a request as the original's client does.
func (n *node) doV1(method, target string, body any, options ...option) reply {
	n.t.Helper()
	data := encode(n.t, body)
	stamp := strconv.FormatInt(n.now().Unix(), 10)
	r := n.request(method, target, data)
	r.Header.Set(agent.HeaderTimestamp, stamp)
	r.Header.Set(agent.HeaderSignature, n.o.Secret.SignV1(agent.Request{Method: method, Target: target, Body: data, Timestamp: stamp}))
	for _, o := range options {
		o(r)
	}
	return n.send(r)
}

func (n *node) now() time.Time {
	if n.o.Now != nil {
		return n.o.Now()
	}
	return time.Now()
}

func encode(t testing.TB, body any) []byte {
	t.Helper()
	switch body := body.(type) {
	case nil:
		return nil
	case string:
		return []byte(body)
	case []byte:
		return body
	}
	data, err := json.Marshal(body)
	require.NoError(t, err)
	return data
}

// request makes a request whose target goes out as it is.
func (n *node) request(method, target string, body []byte) *http.Request {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.http.URL+"/", bytes.NewReader(body))
	require.NoError(n.t, err)
	r.URL.Opaque = target
	if strings.HasPrefix(target, "//") {
		r.URL.Opaque = n.http.URL + target
	}
	return r
}

func (n *node) send(r *http.Request) reply {
	n.t.Helper()
	res, err := n.client.Do(r)
	require.NoError(n.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(n.t, err)
	n.answers.Write(body)
	n.answers.Write([]byte("\n"))
	require.NoError(n.t, res.Header.Write(n.answers))
	return reply{status: res.StatusCode, header: res.Header, body: body}
}

// device returns the state of an interface as the device has it.
func (n *node) device(name string) engine.State {
	n.t.Helper()
	d, err := n.o.Backend.Attach(n.t.Context(), name)
	require.NoError(n.t, err)
	o, err := d.Observe(n.t.Context())
	require.NoError(n.t, err)
	return o.State
}

func (n *node) conf(name string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.o.ConfDir, name+".conf"))
	require.NoError(n.t, err)
	return string(data)
}

func writeConf(t testing.TB, o *Options, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(o.ConfDir, name+".conf"), []byte(text), 0o600))
}

// basicConf is a file with a comment, hooks that are not run, and no peers.
func basicConf(t testing.TB) string {
	t.Helper()
	return "# the office\n[Interface]\nAddress = 10.8.0.1/24\nPrivateKey = " + secretText(enginetest.PrivateKey(t)) + "\n"
}

func withConf(t testing.TB) func(*Options) {
	return func(o *Options) { writeConf(t, o, "wg0", basicConf(t)) }
}

func key(n int) string { return enginetest.PeerKey(n).String() }

func peer(n int) map[string]any {
	return map[string]any{"public_key": key(n), "allowed_ips": []string{enginetest.PeerIP(n).String() + "/32"}}
}
