//go:build root

package host

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	secret   = "host-test-secret-long-enough-000"
	adminKey = "host-test-admin-key-long-enough-0"
	agentURL = "http://127.0.0.1:8080"
)

var wgfleet = filepath.Join(tools, "wgfleet")

// readyTimeout is for a start on a machine that is busy with other things.
const readyTimeout = time.Minute

// node is `wgfleet serve` on a host.
type node struct {
	host *host
	cmd  *exec.Cmd
	done chan struct{} // its output has ended

	mu   sync.Mutex
	text bytes.Buffer
}

// serve starts an agent on TUN, with more settings, and waits until it answers.
func (h *host) serve(env ...string) *node {
	h.t.Helper()
	return h.wgfleet([]string{"serve"}, append([]string{"WGFLEET_BACKEND=tun"}, env...)...)
}

// wgfleet starts a process that serves and waits until it does.
func (h *host) wgfleet(args []string, env ...string) *node {
	h.t.Helper()
	n := h.launch(args, env...)
	n.ready()
	return n
}

func (n *node) ready() {
	n.host.t.Helper()
	require.Eventually(n.host.t, func() bool {
		return strings.Contains(n.log(), `"msg":"wgfleet is ready"`) || n.ended()
	}, readyTimeout, 10*time.Millisecond, "wgfleet is not ready")
	if n.ended() {
		n.host.t.Fatalf("wgfleet ended before it was ready:\n%s", n.log())
	}
}

// launch starts wgfleet, which may refuse.
func (h *host) launch(args []string, env ...string) *node {
	h.t.Helper()
	return h.program(append([]string{wgfleet}, args...), env...)
}

// program launches wgfleet by way of other programs, which it replaces.
func (h *host) program(args []string, env ...string) *node {
	h.t.Helper()
	n := &node{host: h, done: make(chan struct{})}
	n.cmd = h.command(context.Background(), args...)
	n.cmd.Env = environment(append([]string{"WG_AGENT_SECRET=" + secret, "WGFLEET_ADMIN_KEY=" + adminKey}, env...)...)
	out, err := n.cmd.StdoutPipe()
	require.NoError(h.t, err)
	n.cmd.Stderr = n.cmd.Stdout
	require.NoError(h.t, n.cmd.Start())
	go func() {
		defer close(n.done)
		follow(out, func(line string) {
			n.mu.Lock()
			defer n.mu.Unlock()
			fmt.Fprintln(&n.text, line)
		})
	}()
	h.t.Cleanup(func() {
		n.kill()
		if h.t.Failed() {
			h.t.Logf("the log of %s:\n%s", h.name, n.log())
		}
	})
	return n
}

func (n *node) log() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

func (n *node) ended() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// kill ends the process as a power cut does.
func (n *node) kill() {
	if n.cmd.ProcessState == nil {
		n.cmd.Process.Kill() // it may have ended
		n.wait()
	}
}

// stop ends it as systemd does.
func (n *node) stop() {
	n.host.t.Helper()
	require.NoError(n.host.t, n.cmd.Process.Signal(unix.SIGTERM))
	require.Zero(n.host.t, n.wait(), n.log())
}

// wait returns the exit status.
func (n *node) wait() int {
	<-n.done
	n.cmd.Wait() // the state says it
	return n.cmd.ProcessState.ExitCode()
}

// answer is the agent's.
type answer struct {
	status int
	body   string
}

// say is the sentence and the code of a refusal.
func (a answer) say() (sentence, code string) {
	var v struct{ Error, Code string }
	_ = json.Unmarshal([]byte(a.body), &v) // no JSON: neither
	return v.Error, v.Code
}

// do sends a signed request to the agent, from its own host.
func (n *node) do(method, path string, body any) answer {
	t := n.host.t
	t.Helper()
	var text []byte
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		require.NoError(t, err)
	}
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(strings.Join([]string{method, path, string(text), stamp}, "|")))
	req, err := http.NewRequestWithContext(t.Context(), method, agentURL+path, bytes.NewReader(text))
	require.NoError(t, err)
	req.Header.Set("X-Timestamp", stamp)
	req.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	client := http.Client{Timeout: commandTimeout, Transport: &http.Transport{DialContext: n.host.dial, DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err, "%s %s", method, path)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return answer{res.StatusCode, string(b)}
}

// enable and disable must succeed.
func (n *node) enable(name string)  { n.host.t.Helper(); n.must("/v1/wg/" + name + "/enable") }
func (n *node) disable(name string) { n.host.t.Helper(); n.must("/v1/wg/" + name + "/disable") }

func (n *node) must(path string) {
	n.host.t.Helper()
	a := n.do(http.MethodPost, path, nil)
	require.Equal(n.host.t, http.StatusOK, a.status, "%s: %s", path, a.body)
}
