// Package contract reads the rules of the outside back from the running binary. It signs, hashes
// and compares with its own few lines, not with wgfleet's, so that a mistake there is seen here.
package contract

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

const secret = "contract-secret-000-long-enough"

func TestMain(m *testing.M) { os.Exit(binary.Main(m)) }

// node is a running `wgfleet serve`.
type node struct {
	t               *testing.T
	dir             string
	conf            string
	env             []string
	args            []string
	*binary.Process // nil before start
}

const wg0 = `# the office
[Interface]
PrivateKey = cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM=
Address = 10.8.0.1/24
PostUp = true %i

# laptop
[Peer]
PublicKey = FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=
AllowedIPs = 10.8.0.2/32
`

// newNode prepares an agent on netstack with one interface; start runs it.
func newNode(t *testing.T, env ...string) *node {
	binary.WatchSources()
	n := &node{t: t, dir: t.TempDir(), args: []string{"serve"}}
	n.conf = filepath.Join(n.dir, "etc")
	require.NoError(t, os.Mkdir(n.conf, 0o700))
	require.NoError(t, os.WriteFile(n.file(), []byte(wg0), 0o600))
	n.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + n.dir,
		"WG_AGENT_SECRET=" + secret, "WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0",
		"WGFLEET_PANEL_PORT=0", "WGFLEET_BACKEND=netstack",
		"WGFLEET_DATA_DIR=" + filepath.Join(n.dir, "data"), "WGFLEET_CONF_DIR=" + n.conf,
	}, env...)
	return n
}

func (n *node) file() string { return filepath.Join(n.conf, "wg0.conf") }

func (n *node) start() *node {
	n.t.Helper()
	n.Process = binary.Start(n.t, binary.Options{Dir: n.dir, Env: n.env, Args: n.args, Within: time.Minute})
	return n
}

// request is one exchange with the agent; zero values are filled in.
type request struct {
	method, target, body string
	version              int // 0: v1, 2: v2, -1: unsigned
	stamp                int64
	nonce, node          string
	signPath, signature  string
	header               map[string]string
	secret               string
}

type response struct {
	status int
	header http.Header
	body   string
	nonce  string
}

func (r response) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
	return v
}

func (r response) code() string {
	var v struct{ Code string }
	_ = json.Unmarshal([]byte(r.body), &v) // no JSON: no code
	return v.Code
}

func mac(key, text string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func newNonce() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// do sends r over a raw target: nothing on the way may clean it.
func (n *node) do(r request) response {
	n.t.Helper()
	if r.stamp == 0 {
		r.stamp = time.Now().Unix()
	}
	if r.secret == "" {
		r.secret = secret
	}
	stamp := strconv.FormatInt(r.stamp, 10)
	path, _, _ := strings.Cut(r.target, "?")
	if r.signPath != "" {
		path = r.signPath
	}
	header := http.Header{}
	switch r.version {
	case 0:
		header.Set("X-Timestamp", stamp)
		header.Set("X-Signature", mac(r.secret, strings.Join([]string{r.method, path, r.body, stamp}, "|")))
	case 2:
		if r.nonce == "" {
			r.nonce = newNonce()
		}
		header.Set("X-Timestamp", stamp)
		header.Set("X-Nonce", r.nonce)
		header.Set("X-Node", r.node)
		header.Set("X-Signature", mac(r.secret, strings.Join([]string{r.method, r.target, r.body, stamp, r.nonce, r.node}, "|")))
	}
	if r.signature != "" {
		header.Set("X-Signature", r.signature)
	}
	for k, v := range r.header {
		header.Set(k, v)
	}
	u, err := url.Parse(n.AgentURL)
	require.NoError(n.t, err)
	u.Opaque = "//" + u.Host + r.target
	req := &http.Request{Method: r.method, URL: u, Host: u.Host, Header: header, ContentLength: int64(len(r.body)), Body: io.NopCloser(strings.NewReader(r.body))}
	if h, ok := r.header["Host"]; ok {
		req.Host = h
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	require.NoError(n.t, err, r.target)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(n.t, err)
	return response{status: res.StatusCode, header: res.Header, body: string(b), nonce: r.nonce}
}

func (n *node) get(target string) response { return n.do(request{method: "GET", target: target}) }

func (n *node) send(method, target string, body any) response {
	n.t.Helper()
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		require.NoError(n.t, err)
		text = string(b)
	}
	return n.do(request{method: method, target: target, body: text})
}

// peers reads the dump by key.
func (n *node) peers() map[string]dumpPeer {
	n.t.Helper()
	r := n.get("/v1/wg/wg0/dump")
	require.Equal(n.t, 200, r.status, r.body)
	var d struct{ Peers []dumpPeer }
	require.NoError(n.t, json.Unmarshal([]byte(r.body), &d))
	out := map[string]dumpPeer{}
	for _, p := range d.Peers {
		out[p.PublicKey] = p
	}
	return out
}

type dumpPeer struct {
	PublicKey           string   `json:"public_key"`
	PresharedKey        *string  `json:"preshared_key"`
	PresharedKeyMAC     *string  `json:"preshared_key_mac"`
	AllowedIPs          []string `json:"allowed_ips"`
	PersistentKeepalive int      `json:"persistent_keepalive"`
}

// digest is CONTRACT's, written again from its text.
func digest(peers map[string]dumpPeer, macOf func(dumpPeer) string) string {
	var lines []string
	for _, p := range peers {
		ips := append([]string(nil), p.AllowedIPs...)
		sort.Strings(ips)
		m := macOf(p)
		if m == "" {
			m = "-"
		}
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%d\n", p.PublicKey, m, strings.Join(ips, ","), p.PersistentKeepalive))
	}
	sort.Strings(lines)
	return sum(strings.Join(lines, ""))
}

// pskMAC is CONTRACT's preshared_key_mac.
func pskMAC(psk string) string {
	b, err := base64.StdEncoding.DecodeString(psk)
	if err != nil || psk == "" {
		return ""
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte("wgfleet psk 1"))
	return mac(string(m.Sum(nil)), string(b))
}

// key is a public key made of a label.
func key(label string) string {
	s := sha256.Sum256([]byte("contract:" + label))
	return base64.StdEncoding.EncodeToString(s[:])
}

// keyWith is a key that holds the character.
func keyWith(c string) string {
	for i := 0; ; i++ {
		if k := key(c + strconv.Itoa(i)); strings.Contains(k, c) {
			return k
		}
	}
}

// interfaces reads GET /v1/wg by name.
func (r response) interfaces(t *testing.T) map[string]map[string]any {
	t.Helper()
	var v struct{ Interfaces []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(r.body), &v), r.body)
	out := map[string]map[string]any{}
	for _, i := range v.Interfaces {
		out[i["name"].(string)] = i
	}
	return out
}
