package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// The keys and files of the recordings.
const (
	recordedKey = "cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM="
	baseConf    = `# node wg0 (comment line kept by an admin)
[Interface]
Address = 10.8.0.1/24
ListenPort = 51820
PrivateKey = ` + recordedKey + `
PostUp = touch /tmp/postup-%i
PreDown = touch /tmp/predown-%i
`
)

func recordedPeer(label string) string {
	sum := sha256.Sum256([]byte("contract:" + label))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// pick is the first key of a label that holds all of want and nothing of avoid.
func pick(label, want, avoid string) string {
	for i := 0; ; i++ {
		k := recordedPeer(fmt.Sprintf("%s#%d", label, i))
		if !strings.ContainsAny(k, avoid) && (want == "" || strings.Contains(k, want)) {
			return k
		}
	}
}

func plain(label string) string { return pick(label, "", "/+") }

// touched runs no hook: it notes what "touch" would have made.
type touched struct {
	mu    sync.Mutex
	files []string
}

func (h *touched) RunHook(_ context.Context, _, command string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if command == "false" {
		return errors.New("exit status 1")
	}
	if path, ok := strings.CutPrefix(command, "touch "); ok {
		h.files = append(h.files, filepath.Base(path))
	}
	return nil
}

func (h *touched) made() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.files)
	slices.Sort(out)
	return slices.Compact(out)
}

// noHosts finds localhost alone.
type noHosts struct{}

func (noHosts) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host == "localhost" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return nil, errors.New("no such host")
}

// world is a host as the recorder had it, with our agent on it.
type world struct {
	t          testing.TB
	newBackend func() engine.Backend
	attach     engine.Backend                       // finds what others made; nil: nobody else makes any
	bringUp    func(conf string) (touched []string) // makes wg0 before the agent comes; nil: the agent does
	now        time.Time
	nowMu      sync.Mutex
	node       *node
	hooks      *touched
	pending    []string // [Peer] sections for the file, before the agent starts
	recorded   map[string]outcome
}

func (w *world) clock() time.Time {
	w.nowMu.Lock()
	defer w.nowMu.Unlock()
	return w.now
}

func (w *world) setClock(t time.Time) {
	w.nowMu.Lock()
	defer w.nowMu.Unlock()
	w.now = t
}

// reset starts a fresh agent on a fresh host; conf "" leaves the folder empty.
func (w *world) reset(conf string, up bool) {
	w.stop()
	w.hooks = &touched{}
	policy := UpAll
	if !up || w.bringUp != nil {
		policy = UpNone
	}
	w.node = newNode(w.t, func(o *Options) {
		o.Backend, o.Attach = w.newBackend(), w.attach
		o.Secret = "contract-secret-000"
		o.Hooks = HooksAllow
		o.HookRunner = w.hooks
		o.Resolver = noHosts{}
		o.Up = []string{policy}
		o.RateLimit = 1e9
		o.Now = w.clock
		if conf != "" {
			writeConf(w.t, o, "wg0", conf+strings.Join(w.pending, ""))
		}
		if up && w.bringUp != nil {
			w.hooks.files = w.bringUp(conf + strings.Join(w.pending, ""))
		}
	})
	w.pending = nil
}

func (w *world) stop() {
	if w.node == nil {
		return
	}
	backend := w.backend()
	w.node.stop()
	w.node = nil
	names, err := backend.Names(context.Background())
	require.NoError(w.t, err)
	for _, name := range names { // what a test made behind the agent's back is the test's
		d, err := backend.Attach(context.Background(), name)
		require.NoError(w.t, err)
		require.NoError(w.t, d.Close(context.Background()))
	}
}

// backend finds every interface of the host.
func (w *world) backend() engine.Backend {
	if w.attach != nil {
		return w.attach
	}
	return w.node.o.Backend
}

func (w *world) path(name string) string { return filepath.Join(w.node.o.ConfDir, name+".conf") }

func (w *world) removeConf() { require.NoError(w.t, os.Remove(w.path("wg0"))) }

func (w *world) writeConf(text string) {
	require.NoError(w.t, os.WriteFile(w.path("wg0"), []byte(text), 0o600))
}

// add does what wg(8) set does, behind the agent's back.
func (w *world) add(name, key, ips string, edit ...func(*engine.Peer)) {
	k, err := engine.ParseKey(key)
	require.NoError(w.t, err)
	p := engine.Peer{PublicKey: k, AllowedIPs: prefixes(w.t, ips)}
	for _, e := range edit {
		e(&p)
	}
	d := w.device(name)
	c := engine.PeerChange{After: &p}
	o, err := d.Observe(w.t.Context())
	require.NoError(w.t, err)
	if before, there := engine.Lookup(o.Peers, k); there {
		c.Before = &before
	}
	require.NoError(w.t, d.Configure(w.t.Context(), engine.Changes{Peers: []engine.PeerChange{c}}))
}

func (w *world) device(name string) engine.Device {
	d, err := w.backend().Attach(w.t.Context(), name)
	require.NoError(w.t, err)
	return d
}

func prefixes(t testing.TB, text string) []netip.Prefix {
	var out []netip.Prefix
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' }) {
		p, err := engine.ParsePrefix(part)
		require.NoError(t, err)
		out = append(out, p)
	}
	return engine.NormalizePrefixes(out)
}

func keepalive(n int) func(*engine.Peer) {
	return func(p *engine.Peer) { p.PersistentKeepalive = n }
}

func endpoint(text string) func(*engine.Peer) {
	return func(p *engine.Peer) { p.Endpoint = netip.MustParseAddrPort(text) }
}

func preshared(t testing.TB, text string) func(*engine.Peer) {
	return func(p *engine.Peer) {
		k, err := engine.ParseSecretKey(text)
		require.NoError(t, err)
		p.PresharedKey = k
	}
}

// savedPeer adds a peer to the file of the next reset, as the recorder's wg-quick save did.
func (w *world) savedPeer(lines ...string) {
	w.pending = append(w.pending, "\n[Peer]\n"+strings.Join(lines, "\n")+"\n")
}

// dump prints an interface as "wg show NAME dump" does.
func (w *world) dump(name string) string {
	d, err := w.backend().Attach(w.t.Context(), name)
	if err != nil {
		return "rc=1 no interface"
	}
	o, err := d.Observe(w.t.Context())
	require.NoError(w.t, err)
	mark := "off"
	if o.Interface.FwMark != 0 {
		mark = fmt.Sprintf("%#x", o.Interface.FwMark)
	}
	none := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return s
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\t%s\t%d\t%s\n", none(secretText(o.Interface.PrivateKey)), o.Interface.PrivateKey.PublicKey(), o.Interface.ListenPort, mark)
	for _, p := range o.Peers {
		ips := make([]string, len(p.AllowedIPs))
		for i, ip := range p.AllowedIPs {
			ips[i] = ip.String()
		}
		every := "off"
		if p.PersistentKeepalive != 0 {
			every = strconv.Itoa(p.PersistentKeepalive)
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t0\t0\t0\t%s\n", p.PublicKey, none(secretText(p.PresharedKey)),
			none(endpointOf(p, o.Stats[p.PublicKey])), none(strings.Join(ips, ",")), every)
	}
	return b.String()
}

// force makes the peers of wg0 what a recorded dump says: each exchange of a sequence starts from
// what the original had then, so that one difference does not make the next.
func (w *world) force(text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if strings.HasPrefix(text, "rc=") {
		return
	}
	var want []engine.Peer
	for _, l := range lines[1:] {
		f := strings.Split(l, "\t")
		k, err := engine.ParseKey(f[0])
		require.NoError(w.t, err)
		p := engine.Peer{PublicKey: k}
		if f[3] != "(none)" {
			p.AllowedIPs = prefixes(w.t, f[3])
		}
		if f[1] != "(none)" {
			preshared(w.t, f[1])(&p)
		}
		if f[7] != "off" {
			p.PersistentKeepalive, err = strconv.Atoi(f[7])
			require.NoError(w.t, err)
		}
		if f[2] != "(none)" {
			p.Endpoint = netip.MustParseAddrPort(f[2])
		}
		want = append(want, p)
	}
	d := w.device("wg0")
	o, err := d.Observe(w.t.Context())
	require.NoError(w.t, err)
	c := engine.DiffPeers(o.Peers, engine.NormalizePeers(want), engine.DiffOptions{RemoveUnknown: true})
	if len(c) > 0 {
		require.NoError(w.t, d.Configure(w.t.Context(), engine.Changes{Peers: c}))
	}
}

// Peers of the recordings, for the table.
const (
	plainPeer1  = "FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ="
	plainPeer2  = "sPMvT3jCgYrdQhB6oRusZUw2beXPqnOo4XtU9Hbt4fg="
	recordedPSK = "VvNEfQPfqLRsd8XxG5dcoWAKvdRdn8xH6xE7r+WKoTk="
)
