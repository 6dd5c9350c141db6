package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/store/backup/backuptest"
)

func TestMain(m *testing.M) {
	backuptest.Cheap()
	os.Exit(m.Run())
}

// buffer is written by a running process and read by its test.
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

// running is one Run in this process.
type running struct {
	Ready
	out, log buffer
	stop     func() error
}

// start runs with these variables before those that keep it inside dir, on netstack.
func start(t *testing.T, dir string, environ ...string) *running {
	t.Helper()
	r, err := tryStart(t, dir, environ...)
	require.NoError(t, err)
	return r
}

func tryStart(t *testing.T, dir string, environ ...string) (*running, error) {
	t.Helper()
	for _, kv := range []string{
		"WGFLEET_BACKEND=netstack", "WGFLEET_DATA_DIR=" + dir, "WGFLEET_CONF_DIR=" + filepath.Join(dir, "wireguard"),
		"WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0", "WGFLEET_PANEL_PORT=0", "WG_AGENT_LOG_LEVEL=DEBUG",
	} {
		name, _, _ := strings.Cut(kv, "=")
		if _, given := lookup(environ, name); !given {
			environ = append(environ, kv)
		}
	}
	settings, err := Load(Sources{Environ: environ})
	require.NoError(t, err)
	r := &running{}
	ctx, cancel := context.WithCancelCause(context.Background())
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	go func() {
		ended <- Run(ctx, settings, Streams{Out: &r.out, Log: &r.log, Version: "test", Ready: func(v Ready) { ready <- v }})
	}()
	r.stop = sync.OnceValue(func() error {
		cancel(errors.New("the test is over"))
		return <-ended
	})
	t.Cleanup(func() { require.NoError(t, r.stop()) })
	select {
	case r.Ready = <-ready:
		return r, nil
	case err := <-ended:
		ended <- nil
		return r, err
	}
}

// ask sends a request with the administrator's key and returns the data of the answer.
func (r *running) ask(t *testing.T, client *http.Client, path string, data any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.PanelURL+path, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+string(r.AdminKey))
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	require.NoError(t, json.Unmarshal(body, &struct{ Data any }{data}))
}

type nodeData struct {
	ID          string `json:"id"`
	AgentURL    string `json:"agent_url"`
	Pools       string `json:"ip_pool_cidr"`
	IsPanelNode bool   `json:"is_panel_node"`
}

type driftData struct {
	Status, Error string
}

// In an empty folder everything is made, and found again at the next start.
func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "WGFLEET_PANEL=true")
	for _, name := range []string{AdminKeyFile, agentSecretFile, masterKeyFile, "wireguard/wg0.conf"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	require.Contains(t, first.out.String(), string(first.AdminKey))
	for _, next := range []string{"wgfleet peer add ", "wgfleet drift", filepath.Join(dir, AdminKeyFile), first.PanelURL, "10.8.0.1/24"} {
		require.Contains(t, first.out.String(), next)
	}
	var nodes []nodeData
	first.ask(t, http.DefaultClient, "/api/nodes", &nodes)
	require.Len(t, nodes, 1)
	require.True(t, nodes[0].IsPanelNode)
	require.Equal(t, first.NodeID, nodes[0].ID)
	require.Equal(t, first.AgentURL, nodes[0].AgentURL)
	require.Regexp(t, `^10\.8\.0\.0/24, ?fd[0-9a-f:]+::/64$`, nodes[0].Pools)

	_, err = tryStart(t, dir, "WGFLEET_PANEL=true")
	require.ErrorContains(t, err, "uses the data folder "+dir)
	require.NoError(t, first.stop())

	second := start(t, dir, "WGFLEET_PANEL=true")
	require.Equal(t, first.AdminKey, second.AdminKey)
	require.NotContains(t, second.out.String(), string(second.AdminKey), "shown once")
	require.Equal(t, first.NodeID, second.NodeID)
	var report driftData
	second.ask(t, http.DefaultClient, "/api/drift/nodes/"+second.NodeID, &report)
	require.Equal(t, driftData{Status: "in_sync"}, report, "the agent's new port is known")
	require.NoError(t, second.stop())

	secret, err := os.ReadFile(filepath.Join(dir, agentSecretFile))
	require.NoError(t, err)
	conf, err := os.ReadFile(filepath.Join(dir, "wireguard/wg0.conf"))
	require.NoError(t, err)
	private := strings.TrimSpace(strings.SplitAfter(string(conf), "PrivateKey = ")[1][:44])
	for _, log := range []string{first.log.String(), second.log.String()} {
		for _, s := range []string{string(first.AdminKey), strings.TrimSpace(string(secret)), private} {
			require.NotContains(t, log, s, "no secret in the log")
		}
	}
}

func TestGivenKeys(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "WGFLEET_PANEL=true", "WGFLEET_ADMIN_KEY=0123456789abcdef", "WG_AGENT_SECRET="+goodSecret)
	require.Equal(t, APIKey("0123456789abcdef"), r.AdminKey)
	require.NoFileExists(t, filepath.Join(dir, AdminKeyFile))
	require.NoFileExists(t, filepath.Join(dir, agentSecretFile))
	require.NotContains(t, r.out.String(), "0123456789abcdef")
}

func TestShortSecretWarns(t *testing.T) {
	r := start(t, t.TempDir(), "WG_AGENT_SECRET=short")
	require.NoError(t, r.stop())
	require.Contains(t, r.log.String(), `"level":"WARNING","msg":"the shared secret is short`)
	require.NotContains(t, r.log.String(), `"secret":"short"`)
	require.Empty(t, r.out.String(), "an agent alone talks to nobody")
}

func TestPanelAlone(t *testing.T) {
	r := start(t, t.TempDir(), "WGFLEET_PANEL=true", "WGFLEET_NO_AGENT=true")
	require.Empty(t, r.AgentURL)
	var nodes []nodeData
	r.ask(t, http.DefaultClient, "/api/nodes", &nodes)
	require.Empty(t, nodes)
	require.Contains(t, r.out.String(), "wgfleet node add NODE --agent-url")
}

// A failed start leaves nothing behind: the same folder and ports work at once.
func TestFailedStart(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	settings, err := Load(Sources{Environ: []string{
		"WGFLEET_PANEL=true", "WGFLEET_BACKEND=netstack", "WGFLEET_DATA_DIR=" + dir, "WGFLEET_CONF_DIR=" + dir + "/wg",
		"WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0", "WGFLEET_PANEL_PORT=" + portText(l),
	}})
	require.NoError(t, err)
	err = Run(t.Context(), settings, Streams{Out: io.Discard, Log: io.Discard})
	require.EqualError(t, err, "port "+portText(l)+" of 127.0.0.1 is in use: stop what listens there, or set another WGFLEET_PANEL_PORT")
	start(t, dir, "WGFLEET_PANEL=true")
}

func portText(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// makeCertificate writes a self-signed certificate for 127.0.0.1 and returns its files.
func makeCertificate(t *testing.T, dir string, serial int64) TLSFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	f := TLSFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	require.NoError(t, os.WriteFile(f.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	require.NoError(t, os.WriteFile(f.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return f
}

// With TLS on both roles, the panel reaches its own host over loopback without knowing the name in
// the agent's certificate.
func TestTLS(t *testing.T) {
	f := makeCertificate(t, t.TempDir(), 1)
	r := start(t, t.TempDir(), "WGFLEET_PANEL=true", "WG_AGENT_TLS_CERT="+f.Cert, "WG_AGENT_TLS_KEY="+f.Key,
		"WGFLEET_PANEL_TLS_CERT="+f.Cert, "WGFLEET_PANEL_TLS_KEY="+f.Key, "WG_AGENT_TLS_CLIENT_CA="+f.Cert)
	require.Regexp(t, `^https://127.0.0.1:\d+$`, r.AgentURL)
	require.Regexp(t, `^https://127.0.0.1:\d+$`, r.PanelURL)
	pool, err := certPool(f.Cert)
	require.NoError(t, err)
	conf := &tls.Config{RootCAs: pool}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}
	defer client.CloseIdleConnections()
	var report driftData
	r.ask(t, client, "/api/drift/nodes/"+r.NodeID, &report)
	require.Equal(t, driftData{Status: "in_sync"}, report)

	get := func() error {
		resp, err := client.Get(r.AgentURL + "/health")
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	require.Error(t, get(), "the agent wants a certificate")
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	conf.Certificates = []tls.Certificate{pair}
	client.CloseIdleConnections()
	client.Transport = &http.Transport{TLSClientConfig: conf}
	require.NoError(t, get())
}

// A renewed certificate is served without a restart; one that can't be read is not.
func TestCertificateRenewal(t *testing.T) {
	dir := t.TempDir()
	f := makeCertificate(t, dir, 1)
	conf, err := serverTLS(f)
	require.NoError(t, err)
	require.EqualValues(t, tls.VersionTLS12, conf.MinVersion)
	serial := func() int64 {
		c, err := conf.GetCertificate(nil)
		require.NoError(t, err)
		return c.Leaf.SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	makeCertificate(t, dir, 2)
	require.NoError(t, os.Chtimes(f.Cert, time.Time{}, time.Now().Add(time.Minute)))
	require.EqualValues(t, 2, serial())
	require.NoError(t, os.WriteFile(f.Cert, []byte("half written"), 0o600))
	require.NoError(t, os.Chtimes(f.Cert, time.Time{}, time.Now().Add(2*time.Minute)))
	require.EqualValues(t, 2, serial(), "the old one is kept")
	_, err = serverTLS(TLSFiles{Cert: f.Cert, Key: f.Key})
	require.Error(t, err, "at the start it must be there")
}

func TestCleanups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cleanups{log: slog.New(slog.DiscardHandler)}
		var order []string
		c.add("first", func(ctx context.Context) error {
			order = append(order, "first")
			return ctx.Err()
		})
		block := make(chan struct{})
		c.add("stuck", closing(func() error { <-block; return nil }))
		c.add("last", func(context.Context) error {
			order = append(order, "last")
			return errors.New("boom")
		})
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		err := c.run(cancelled)
		require.Equal(t, []string{"last", "first"}, order)
		require.ErrorContains(t, err, "stop last: boom")
		require.ErrorContains(t, err, "stop stuck: it did not end in time")
		require.ErrorContains(t, err, "stop first: context deadline exceeded")
		require.Equal(t, stopWithin, time.Since(begin), "one deadline for all")
		require.NoError(t, c.run(t.Context()), "once")
		close(block)
	})
}

func TestChooseBackend(t *testing.T) {
	var log buffer
	b, err := chooseBackend("netstack", "", nil, newLogger(&log, slog.LevelInfo))
	require.NoError(t, err)
	require.Equal(t, "netstack", string(b.Kind()))
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
	require.Contains(t, log.String(), `"reason":"it was asked for"`)
	b, err = chooseBackend(BackendAuto, "", nil, newLogger(&log, slog.LevelInfo))
	require.NoError(t, err, "netstack always works")
	require.NotNil(t, b)
	require.Nil(t, attacher("netstack", engine.KindNetstack), "nothing outside the process is looked at")
	require.IsType(t, &kernel.Backend{}, attacher("tun", engine.KindTUN))
	require.IsType(t, &kernel.Backend{}, attacher(BackendAuto, engine.KindTUN))
	require.IsType(t, permitted{}, attacher(BackendAuto, engine.KindNetstack))
}

// foreign is a host with two interfaces of others; only the second may be driven by us.
type foreign struct{ engine.Backend }

func (foreign) Names(context.Context) ([]string, error) { return []string{"wg0", "wg1"}, nil }

func (foreign) Attach(_ context.Context, name string) (engine.Device, error) {
	if name == "wg0" {
		return nil, fmt.Errorf("%w: root's", engine.ErrNotPermitted)
	}
	return nil, nil
}

// A user without privileges makes an own wg0 on netstack beside root's.
func TestPermitted(t *testing.T) {
	p := permitted{foreign{}}
	names, err := p.Names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"wg1"}, names)
	_, err = p.Attach(t.Context(), "wg0")
	require.ErrorIs(t, err, engine.ErrUnknownInterface)
	_, err = p.Attach(t.Context(), "wg1")
	require.NoError(t, err)
}

func TestKeptSecret(t *testing.T) {
	dir := t.TempDir()
	a, made, err := keptSecret(dir, "x")
	require.NoError(t, err)
	require.True(t, made)
	b, made, err := keptSecret(dir, "x")
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, a, b)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
	_, _, err = keptSecret(dir, "x")
	require.ErrorContains(t, err, "is empty")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file is left")
}

// What the agent has by now stays, whatever the seed says.
func TestSeed(t *testing.T) {
	const conf = "[Interface]\nPrivateKey = %s\nAddress = %s\n"
	dir, seed := t.TempDir(), t.TempDir()
	write := func(name, address string) {
		k, err := engine.GeneratePrivateKey()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(seed, name), fmt.Appendf(nil, conf, k.Reveal(), address), 0o644))
	}
	environ := []string{"WG_AGENT_SECRET=0123456789abcdef", "WGFLEET_SEED_DIR=" + seed}
	write("wg0.conf", "10.8.0.1/24")
	write("README", "10.8.9.1/24")
	require.NoError(t, os.Mkdir(filepath.Join(seed, "..data"), 0o755))
	require.NoError(t, start(t, dir, environ...).stop())
	path := filepath.Join(dir, "wireguard", "wg0.conf")
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(first), "10.8.0.1/24")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	write("wg0.conf", "10.8.1.1/24")
	require.NoError(t, os.WriteFile(filepath.Join(seed, "wg1.conf"), []byte("# public\n[Interface]\nAddress = 10.8.2.1/24\n"), 0o644))
	require.NoError(t, start(t, dir, environ...).stop())
	made, err := os.ReadFile(filepath.Join(dir, "wireguard", "wg1.conf"))
	require.NoError(t, err)
	require.Regexp(t, `^# public\n\[Interface\]\n(PrivateKey = [A-Za-z0-9+/]{43}=\n|Address = 10.8.2.1/24\n){2}$`, string(made))
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(first), string(again))
	files, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, files, 2)

	// What went away does not come back as another identity.
	require.NoError(t, os.Remove(path))
	r := start(t, dir, environ...)
	require.NoError(t, r.stop())
	require.NoFileExists(t, path)
	require.Contains(t, r.log.String(), "its file is gone")

	_, err = tryStart(t, t.TempDir(), "WG_AGENT_SECRET=0123456789abcdef", "WGFLEET_SEED_DIR=/nowhere")
	require.ErrorContains(t, err, "WGFLEET_SEED_DIR: open /nowhere")
}

func TestFolderIsClosedToOthers(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	unlock, err := openFolder(dir)
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	_, err = openFolder(dir)
	require.ErrorContains(t, err, "another wgfleet (process ")
	require.NoError(t, unlock())
	unlock, err = openFolder(dir)
	require.NoError(t, err)
	require.NoError(t, unlock())
}
