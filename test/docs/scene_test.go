package docs

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

// stage is what a document finds: a folder, a shell in it, and where it does not start them itself, a
// panel and the node berlin.
type stage struct {
	t     *testing.T
	dir   string
	shell *shell

	panel    *server
	panelURL string
	panelEnv []string // finds the panel and its key
	berlin   *server
	secret   string // of berlin

	berlinHome string
	seed       string // a variable: see binary.SeedPort
}

var client = &http.Client{Timeout: 30 * time.Second}

// newStage prepares a folder with a shell.
func newStage(t *testing.T) *stage {
	s := &stage{t: t, dir: t.TempDir()}
	require.NoError(t, os.Symlink(filepath.Dir(binary.Path()), filepath.Join(s.dir, "bin")))
	s.seed = "WGFLEET_SEED_DIR=" + binary.SeedPort(t)
	s.panelEnv = environment(s.dir)
	s.shell = newShell(t, s.dir, append(environment(s.dir), s.seed))
	return s
}

// startPanel runs a panel in the document's folder, and berlin.
func (s *stage) startPanel() {
	s.panel = newServer(s.t, s.dir, true, s.seed)
	s.panel.start()
	s.panelAt(s.panel.PanelURL)
	s.shell.set("DATA", filepath.Join(s.dir, "data"))
	s.berlinJoins()
}

// panelAt says where the panel is.
func (s *stage) panelAt(panelURL string) {
	s.panelURL = panelURL
	s.panelEnv = append(s.panelEnv, "WGFLEET_URL="+panelURL)
	s.shell.set("WGFLEET_URL", panelURL)
	s.shell.set("URL", panelURL)
}

// berlinJoins starts the agent of berlin, whose interface has a file already, and tells the panel of it.
func (s *stage) berlinJoins() {
	home := filepath.Join(s.t.TempDir(), "berlin")
	s.berlinHome = home
	private := strings.TrimSpace(s.wgfleet("genkey"))
	require.NoError(s.t, os.MkdirAll(filepath.Join(home, "wireguard"), 0o700))
	file := "[Interface]\nPrivateKey = " + private + "\nAddress = 10.9.0.1/24\n"
	require.NoError(s.t, os.WriteFile(filepath.Join(home, "wireguard", "wg0.conf"), []byte(file), 0o600))
	s.newSecret()
	s.berlin = newServer(s.t, home, false, "WG_AGENT_SECRET_FILE="+s.secretFile())
	s.berlin.start()
	s.wgfleet("node", "add", "berlin", "--agent-url", s.berlin.AgentURL, "--secret-file", s.secretFile(),
		"--endpoint", "berlin.example.com", "--pool", "10.9.0.0/24")
	s.wgfleet("node", "test", "berlin")
	s.wgfleet("peer", "add", "berlin", "laptop")
	s.wgfleet("peer", "add", "berlin", "phone")
	s.shell.set("AGENT", s.berlin.AgentURL)
}

func (s *stage) secretFile() string { return filepath.Join(s.dir, "berlin.secret") }

func (s *stage) newSecret() {
	text := s.wgfleet("secret")
	s.secret = strings.TrimSpace(text)
	require.NoError(s.t, os.WriteFile(s.secretFile(), []byte(text), 0o600))
}

// wgfleet runs a client command.
func (s *stage) wgfleet(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(binary.Path(), args...)
	cmd.Env = s.panelEnv
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	require.NoError(s.t, cmd.Run(), "wgfleet %s: %s", strings.Join(args, " "), &problem)
	return out.String()
}

// scenes are what happens between the commands of a document, by the first word.
var scenes = map[string]func(s *stage, args []string){
	"berlin":   func(s *stage, _ []string) { s.berlinJoins() },
	"stop":     func(s *stage, _ []string) { s.berlin.stop() },
	"start":    func(s *stage, _ []string) { s.restart() },
	"secret":   func(s *stage, _ []string) { s.berlin.stop(); s.newSecret(); s.restart() },
	"serve":    func(s *stage, args []string) { s.serveAnew(args) },
	"panel":    func(s *stage, _ []string) { s.panel.stop(); s.panel.start(); s.panelAt(s.panel.PanelURL) },
	"clock":    func(s *stage, args []string) { s.clock(args[0]) },
	"lose":     func(s *stage, args []string) { s.call(http.MethodDelete, "/peers/"+s.keyOf(args[0]), nil) },
	"stranger": func(s *stage, args []string) { s.stranger(args[0]) },
	"keepalive": func(s *stage, args []string) {
		s.call(http.MethodPut, "/peers/"+s.keyOf(args[0]), map[string]json.Number{"persistent_keepalive": json.Number(args[1])})
	},
	"down":    func(s *stage, _ []string) { s.call(http.MethodPost, "/disable", nil) },
	"webhook": func(s *stage, _ []string) { s.webhook() },
	"port":    func(s *stage, _ []string) { s.takePort() },
}

// play plays the scene of a comment.
func (s *stage) play(text string) {
	s.t.Helper()
	words := strings.Fields(text)
	scene, ok := scenes[words[0]]
	require.True(s.t, ok, "there is no scene %q", words[0])
	scene(s, words[1:])
}

// restart starts berlin's agent, on whatever port is free, and tells the panel.
func (s *stage) restart() {
	s.berlin.start()
	s.moveTo(s.berlin.AgentURL)
}

// serveAnew starts berlin's agent with these settings, whose files are in the document's folder.
func (s *stage) serveAnew(settings []string) {
	s.berlin.stop()
	s.berlin.env = environment(s.berlinHome)
	for _, setting := range settings {
		name, file, _ := strings.Cut(setting, "=")
		s.berlin.env = append(s.berlin.env, name+"="+filepath.Join(s.dir, file))
	}
	s.restart()
}

func (s *stage) moveTo(agentURL string) {
	s.wgfleet("node", "set", "berlin", "--agent-url", agentURL)
	s.shell.set("AGENT", agentURL)
}

// clock puts berlin's clock ahead, as seen from outside: stamps of requests are that much older for it, and
// it says that much more in Date.
func (s *stage) clock(ahead string) {
	by, err := time.ParseDuration(ahead)
	require.NoError(s.t, err)
	if by == 0 {
		s.moveTo(s.berlin.AgentURL)
		return
	}
	agent, err := url.Parse(s.berlin.AgentURL)
	require.NoError(s.t, err)
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(agent)
			if stamp, err := strconv.ParseInt(r.Out.Header.Get("X-Timestamp"), 10, 64); err == nil {
				r.Out.Header.Set("X-Timestamp", strconv.FormatInt(stamp-int64(by.Seconds()), 10))
			}
		},
		ModifyResponse: func(r *http.Response) error {
			date, err := http.ParseTime(r.Header.Get("Date"))
			r.Header.Set("Date", date.Add(by).Format(http.TimeFormat))
			return err
		},
	})
	s.t.Cleanup(server.Close)
	s.moveTo(server.URL)
}

// stranger adds a peer that the panel does not know.
func (s *stage) stranger(prefix string) {
	sum := sha256.Sum256([]byte("stranger " + prefix))
	s.call(http.MethodPost, "/peers", map[string]any{"public_key": sum[:], "allowed_ips": []string{prefix}})
}

// keyOf returns the public key of a peer of berlin.
func (s *stage) keyOf(name string) string {
	var p struct {
		PublicKey string `json:"public_key"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(s.wgfleet("peer", "show", "berlin", name, "--json")), &p))
	return p.PublicKey
}

// call asks berlin's agent for something, signed, behind the panel's back.
func (s *stage) call(method, path string, body any) {
	s.t.Helper()
	text := []byte{}
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		require.NoError(s.t, err)
	}
	target, stamp := "/v1/wg/wg0"+path, strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(s.secret))
	fmt.Fprintf(mac, "%s|%s|%s|%s", method, target, text, stamp)
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.berlin.AgentURL+target, bytes.NewReader(text))
	require.NoError(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Timestamp", stamp)
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	res, err := client.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, res.StatusCode, "%s %s: %s", method, target, answer)
}

// takePort takes a UDP port for another program, and says which.
func (s *stage) takePort() {
	c, err := net.ListenPacket("udp", ":0")
	require.NoError(s.t, err)
	s.t.Cleanup(func() { c.Close() })
	s.shell.set("PORT", strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port))
}

// webhook starts a receiver that takes everything, and leaves its address in the file url.
func (s *stage) webhook() {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.t.Cleanup(server.Close)
	for name, text := range map[string]string{"url": server.URL + "/hook", "password": "correct horse battery staple"} {
		require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text+"\n"), 0o600))
	}
}
