package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret agent.Secret = "a shared secret for the tests of the client"

// fake is an agent that answers whatever a test wants, rightly signed.
type fake struct {
	t       testing.TB
	id      string
	server  *httptest.Server
	answer  func(r *http.Request) (status int, etag, interfaceDigest, body string)
	tamper  func(h http.Header)
	mu      sync.Mutex // protects seen while requests run
	seen    []*http.Request
	unnamed bool // /health without agent_id
}

func newFake(t testing.TB, start func(http.Handler) *httptest.Server) *fake {
	f := &fake{t: t, id: agent.NewID(), tamper: func(http.Header) {}}
	f.answer = func(*http.Request) (int, string, string, string) { return 200, "", "", "{}" }
	f.server = start(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r)
	f.mu.Unlock()
	status, etag, digest, body := 200, "", "", fmt.Sprintf(`{"status":"ok","timestamp":%d,"version":"t","agent_id":%q}`, time.Now().Unix(), f.id)
	if f.unnamed {
		body = `{"status":"ok","version":"2.2.0"}`
	}
	nonce := r.Header.Get(agent.HeaderNonce)
	switch {
	case nonce != "" && r.Header.Get(agent.HeaderNode) != f.id:
		status, body = 401, `{"error":"this is another node","code":"wrong_node"}`
	case !strings.HasSuffix(r.URL.Path, "/health"):
		status, etag, digest, body = f.answer(r)
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	if digest != "" {
		w.Header().Set(agent.HeaderInterfaceDigest, digest)
	}
	if nonce != "" {
		w.Header().Set(agent.HeaderResponseSignature, secret.SignAnswer(agent.Answer{Status: status, Nonce: nonce, ETag: etag, InterfaceDigest: digest, Body: []byte(body)}))
	}
	f.tamper(w.Header())
	w.WriteHeader(status)
	w.Write([]byte(body))
}

func (f *fake) client(edit func(*Options)) *Client {
	f.t.Helper()
	o := Options{BaseURL: f.server.URL, Secret: secret}
	if edit != nil {
		edit(&o)
	}
	c, err := New(o)
	require.NoError(f.t, err)
	f.t.Cleanup(c.Close)
	return c
}

func isKind(t testing.TB, err error, k Kind) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, k, e.Kind, "%v", err)
	require.ErrorIs(t, err, &Error{Kind: k})
	require.NotContains(t, err.Error(), string(secret))
	return e
}

func TestPinsTheAgent(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	_, err := c.Interfaces(t.Context())
	require.NoError(t, err)
	id, v2 := c.Identity()
	require.Equal(t, f.id, id)
	require.True(t, v2)
	require.Len(t, f.seen, 2, "one open look, one signed call")
	h, err := c.Health(t.Context())
	require.NoError(t, err)
	require.Equal(t, f.id, h.AgentID)
	require.Len(t, f.seen, 3)

	f.id = agent.NewID()
	_, err = c.Interfaces(t.Context())
	require.Contains(t, isKind(t, err, NotAuthentic).Reason, "another agent")
	still, _ := c.Identity()
	require.Equal(t, id, still)
}

// Who answers the open /health in another's name gains nothing.
func TestAClaimedIDIsNotPinned(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	f.tamper = func(h http.Header) { h.Del(agent.HeaderResponseSignature) }
	c := f.client(nil)
	_, err := c.Interfaces(t.Context())
	isKind(t, err, NotAuthentic)
	id, v2 := c.Identity()
	require.Empty(t, id)
	require.False(t, v2)
	f.tamper = func(http.Header) {}
	_, err = c.Interfaces(t.Context())
	require.NoError(t, err)
}

func TestNeverDowngrades(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	f.unnamed = true
	for name, edit := range map[string]func(*Options){
		"by its id": func(o *Options) { o.AgentID = f.id }, "spoke v2 once": func(o *Options) { o.SpeaksV2 = true },
	} {
		t.Run(name, func(t *testing.T) {
			f.tamper = func(h http.Header) { h.Del(agent.HeaderResponseSignature) }
			c := f.client(edit)
			_, err := c.Interfaces(t.Context())
			isKind(t, err, NotAuthentic)
			_, err = c.Health(t.Context())
			isKind(t, err, NotAuthentic)
			for _, r := range f.seen {
				require.True(t, r.Header.Get(agent.HeaderSignature) == "" || r.Header.Get(agent.HeaderNonce) != "", "nothing was signed the old way")
			}
		})
	}
}

func dumpOf(peers ...string) string {
	return `{"interface":"wg0","peers":[` + strings.Join(peers, ",") + `]}`
}

func keyText(n byte) string { return wgtypes.Key{n, 1}.String() }

func TestHostileDumps(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	one := fmt.Sprintf(`{"public_key":%q,"allowed_ips":["10.0.0.1/32"],"persistent_keepalive":0}`, keyText(1))
	empty := engine.Digest(nil, engine.MACKey{})
	for name, body := range map[string]string{
		"no JSON":               "<html>",
		"another interface":     `{"interface":"wg1","peers":[]}`,
		"no list":               `{"interface":"wg0"}`,
		"a key that is none":    dumpOf(`{"public_key":"x","allowed_ips":[]}`),
		"the zero key":          dumpOf(fmt.Sprintf(`{"public_key":%q,"allowed_ips":[]}`, wgtypes.Key{})),
		"an address of nothing": dumpOf(fmt.Sprintf(`{"public_key":%q,"allowed_ips":["x"]}`, keyText(1))),
		"keepalive":             dumpOf(fmt.Sprintf(`{"public_key":%q,"allowed_ips":[],"persistent_keepalive":65536}`, keyText(1))),
		"a peer twice":          dumpOf(one, strings.Replace(one, "10.0.0.1", "10.0.0.2", 1)),
		"a prefix twice":        dumpOf(one, strings.Replace(one, keyText(1), keyText(2), 1)),
		"a MAC that is none":    dumpOf(fmt.Sprintf(`{"public_key":%q,"allowed_ips":[],"preshared_key_mac":"xyz"}`, keyText(1))),
		"MAC and key disagree":  dumpOf(fmt.Sprintf(`{"public_key":%q,"allowed_ips":[],"preshared_key":%q,"preshared_key_mac":%q}`, keyText(1), keyText(9), empty)),
		"not what was digested": dumpOf(one),
	} {
		t.Run(name, func(t *testing.T) {
			f.answer = func(*http.Request) (int, string, string, string) { return 200, quote(empty), "d", body }
			_, err := c.Dump(t.Context(), "wg0", Query{})
			isKind(t, err, Malformed)
		})
	}
	f.answer = func(*http.Request) (int, string, string, string) { return 200, quote(empty), "d", dumpOf() }
	s, err := c.Dump(t.Context(), "wg0", Query{})
	require.NoError(t, err)
	require.Equal(t, empty, s.Digest)
	f.answer = func(*http.Request) (int, string, string, string) { return 304, quote("other"), "d", "" }
	_, err = c.Dump(t.Context(), "wg0", Query{IfNot: empty})
	isKind(t, err, NotAuthentic)
	f.answer = func(*http.Request) (int, string, string, string) { return 304, quote(empty), "", "" }
	_, err = c.Dump(t.Context(), "wg0", Query{IfNot: empty})
	isKind(t, err, NotAuthentic)
	_, err = c.Dump(t.Context(), "../etc", Query{})
	isKind(t, err, BadSettings)
}

func TestHugeAndSlowAnswers(t *testing.T) {
	block := make(chan struct{})
	endless := true
	f := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !endless {
			<-block
			return
		}
		chunk := make([]byte, 1<<20)
		for range 100 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	defer f.Close()
	defer close(block)
	c, err := New(Options{BaseURL: f.URL, Secret: secret})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Health(t.Context())
	require.Contains(t, isKind(t, err, Malformed).Reason, "64 MiB")
	endless = false
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Health(ctx)
	require.Contains(t, isKind(t, err, Unreachable).Reason, "in time")
}

func TestRefusals(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	refuse := func(status int, body string) *Error {
		f.answer = func(*http.Request) (int, string, string, string) { return status, "", "", body }
		_, err := c.Interfaces(t.Context())
		e, ok := errors.AsType[*Error](err)
		require.True(t, ok, "%v", err)
		return e
	}
	e := refuse(409, `{"error":"it is taken","code":"allowed_ip_taken","holder":"x"}`)
	require.Equal(t, Refused, e.Kind)
	require.Equal(t, agent.CodeAllowedIPTaken, e.Agent.Code)
	require.Equal(t, "x", e.Agent.Holder)
	f.tamper = func(h http.Header) { h.Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)) }
	e = refuse(401, `{"error":"Request timestamp too old","code":"timestamp_out_of_range"}`)
	require.Equal(t, ClockOff, e.Kind)
	require.InDelta(t, time.Hour.Seconds(), e.Skew.Seconds(), 5)
	require.Equal(t, Unauthorized, refuse(401, `{"error":"Invalid signature","code":"invalid_signature"}`).Kind)
	require.Equal(t, Unreachable, refuse(401, `{"error":"this X-Nonce was used already","code":"nonce_replayed"}`).Kind, "the first of the two may have been done")
	require.Equal(t, Malformed, refuse(307, "").Kind)
	require.Contains(t, refuse(500, "a\nb <html> "+strings.Repeat("x", 1000)).Reason, "500")
	require.NotContains(t, refuse(500, `{"error":"a\nb"}`).Reason, "\n")
	f.tamper = func(h http.Header) { h.Del(agent.HeaderResponseSignature) }
	require.Equal(t, Unauthorized, refuse(401, `{}`).Kind)
	require.Equal(t, Unreachable, refuse(502, ``).Kind)
	require.Equal(t, NotAuthentic, refuse(200, `{}`).Kind)
}

func TestKeysDoNotCrossPlainHTTP(t *testing.T) {
	psk := keyText(7)
	for _, c := range []struct {
		url   string
		allow bool
		sends bool
	}{
		{"http://10.255.255.1:1", false, false},
		{"http://wg.example.com", false, false},
		{"http://127.0.0.1:1", false, true},
		{"http://localhost:1", false, true},
		{"http://[::1]:1", false, true},
		{"http://localhost.example.com", false, false},
		{"https://10.255.255.1:1", false, true},
		{"http://10.255.255.1:1", true, true},
	} {
		cl, err := New(Options{BaseURL: c.url, Secret: secret, AllowPlainSecrets: c.allow})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, err := range []error{
			cl.AddPeer(ctx, "wg0", agent.PeerBody{PublicKey: keyText(1), PresharedKey: &psk}, Write{}),
			cl.UpdatePeer(ctx, "wg0", wgtypes.Key{1}, agent.PeerBody{PresharedKey: &psk}, Write{}),
			cl.PutConfig(ctx, "wg0", agent.ConfigUpdate{PrivateKey: &psk}),
			errOf(cl.Apply(ctx, "wg0", agent.Apply{Changes: &[]agent.Change{{Op: agent.OpPut, PeerBody: agent.PeerBody{PublicKey: keyText(1), PresharedKey: &psk}}}}, Write{})),
			errOf(cl.Apply(ctx, "wg0", agent.Apply{Peers: &[]agent.PeerBody{{PublicKey: keyText(1), PresharedKey: &psk}}}, Write{})),
			errOf(cl.SyncConf(ctx, "wg0", nil, false, Write{})),
		} {
			want := PlainSecret
			if c.sends {
				want = Unreachable
			}
			isKind(t, err, want)
			require.NotContains(t, err.Error(), psk)
		}
		cl.Close()
	}
}

func errOf(_ any, err error) error { return err }

func TestTLSPin(t *testing.T) {
	f := newFake(t, httptest.NewTLSServer)
	sum := sha256.Sum256(f.server.Certificate().Raw)
	_, err := f.client(nil).Health(t.Context())
	isKind(t, err, Unreachable)
	_, err = f.client(func(o *Options) { o.TLS.Pin = strings.ToUpper(hex.EncodeToString(sum[:])) }).Health(t.Context())
	require.NoError(t, err)
	_, err = f.client(func(o *Options) { o.TLS.Pin = strings.Repeat("ab", 32) }).Health(t.Context())
	require.Contains(t, isKind(t, err, NotAuthentic).Reason, "tls_pin")
	_, err = New(Options{BaseURL: f.server.URL, Secret: secret, TLS: TLS{Pin: "short"}})
	isKind(t, err, BadSettings)
	for _, url := range []string{"ftp://x", "x", "http://", "http://user@x"} {
		_, err := New(Options{BaseURL: url, Secret: secret})
		isKind(t, err, BadSettings)
	}
}

// A proxy's prefix is not signed: the agent does not see it.
func TestPathPrefix(t *testing.T) {
	var got agent.Request
	var signature, wire string
	f := newFake(t, httptest.NewServer)
	f.answer = func(r *http.Request) (int, string, string, string) {
		wire, signature = r.RequestURI, r.Header.Get(agent.HeaderSignature)
		got = agent.Request{Method: r.Method, Target: "/v1/wg", Timestamp: r.Header.Get(agent.HeaderTimestamp), Nonce: r.Header.Get(agent.HeaderNonce), Node: f.id}
		return 200, "", "", "{}"
	}
	f.server.Config.Handler = http.StripPrefix("/behind/proxy", f)
	_, err := f.client(func(o *Options) { o.BaseURL += "/behind/proxy/" }).Interfaces(t.Context())
	require.NoError(t, err)
	require.Equal(t, "/behind/proxy/v1/wg", wire)
	require.True(t, secret.VerifyV2(got, signature))
}

func TestPeerCalls(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	slash := wgtypes.Key{0xff, 0xff, 0xff}
	require.Contains(t, slash.String(), "/")
	require.NoError(t, c.UpdatePeer(t.Context(), "wg0", slash, agent.PeerBody{PersistentKeepalive: new(0)}, Write{IfMatch: "abc"}))
	last := f.seen[len(f.seen)-1]
	require.Equal(t, `"abc"`, last.Header.Get("If-Match"))
	require.NotContains(t, strings.TrimPrefix(last.RequestURI, "/v1/wg/wg0/peers/"), "/")
	require.NoError(t, c.RemovePeer(t.Context(), "wg0", slash, Write{}))
	require.Equal(t, http.MethodDelete, f.seen[len(f.seen)-1].Method)
	require.NoError(t, c.Enable(t.Context(), "wg0"))
	require.NoError(t, c.Disable(t.Context(), "wg0"))
	_, err := c.Config(t.Context(), "wg0")
	require.NoError(t, err)
}

func FuzzDump(f *testing.F) {
	f.Add([]byte(dumpOf(fmt.Sprintf(`{"public_key":%q,"allowed_ips":["(none)"],"persistent_keepalive":0}`, keyText(1)))))
	f.Add([]byte(`{"interface":"wg0","peers":[{"public_key":"","allowed_ips":null,"preshared_key":"x","endpoint":"[::1]:5","latest_handshake":-1}]}`))
	c, err := New(Options{BaseURL: "http://127.0.0.1:1", Secret: secret})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := c.snapshot(&answer{body: body}, "wg0")
		if err != nil {
			isKind(t, err, Malformed)
			return
		}
		peers := make([]engine.Peer, len(s.Peers))
		for i, p := range s.Peers {
			peers[i] = p.Peer
		}
		if err := engine.Validate(engine.Normalize(engine.State{Peers: peers})); err != nil {
			t.Fatal(err)
		}
		if len(s.Digest) != 64 {
			t.Fatal("no digest")
		}
	})
}
