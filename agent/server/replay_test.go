package server

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// exchange is one line of the recordings.
type exchange struct {
	Name    string `json:"name"`
	Request *struct {
		Method  string          `json:"method"`
		Path    string          `json:"path"`
		Headers json.RawMessage `json:"headers"`
		Body    json.RawMessage `json:"body"`
	} `json:"request"`
	Response *struct {
		Status  int             `json:"status"`
		Headers [][2]string     `json:"headers"`
		Body    json.RawMessage `json:"body"`
	} `json:"response"`
	After json.RawMessage `json:"wg_after"`
	// The lines about the host after a PUT config.
	TmpFiles []string `json:"tmp_files"`
	Up       bool     `json:"up"`
}

func recordings(t testing.TB) []exchange {
	f, err := os.Open("../../testdata/original/transcripts.jsonl")
	require.NoError(t, err)
	defer f.Close()
	var out []exchange
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var x exchange
		require.NoError(t, json.Unmarshal(lines.Bytes(), &x))
		out = append(out, x)
	}
	require.NoError(t, lines.Err())
	return out
}

// raw returns the bytes of the request as they were sent.
func (x exchange) raw(t testing.TB) []byte {
	var head string
	if json.Unmarshal(x.Request.Headers, &head) == nil { // a request written by hand
		return append(latin1(head), x.body(t)...)
	}
	var headers [][2]string
	require.NoError(t, json.Unmarshal(x.Request.Headers, &headers), x.Name)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", x.Request.Method, x.Request.Path)
	if x.Name == "auth.http10" {
		b.Reset()
		fmt.Fprintf(&b, "%s %s HTTP/1.0\r\n", x.Request.Method, x.Request.Path)
	}
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	b.Write(x.body(t))
	return b.Bytes()
}

// latin1 is how the recorder kept bytes as text.
func latin1(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

func (x exchange) body(t testing.TB) []byte {
	var text string
	if json.Unmarshal(x.Request.Body, &text) == nil {
		if encoded, ok := strings.CutPrefix(text, "base64:"); ok {
			b, err := base64.StdEncoding.DecodeString(encoded)
			require.NoError(t, err)
			return b
		}
		return []byte(text)
	}
	var big struct {
		Len    int    `json:"len"`
		SHA256 string `json:"sha256"`
	}
	if json.Unmarshal(x.Request.Body, &big) != nil || big.Len == 0 {
		return nil
	}
	b := bigBody(t, x.Name)
	sum := sha256.Sum256(b)
	require.Equal(t, big.SHA256, hex.EncodeToString(sum[:]), x.Name)
	return b
}

func (x exchange) header(name string) string {
	for _, h := range x.Response.Headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// outcome is what the replay compares.
type outcome struct {
	status      int
	contentType string
	body        string
	device      string // as wg(8) dumps it, normalized
}

func (x exchange) recorded(t testing.TB) outcome {
	out := outcome{status: x.Response.Status, contentType: x.header("content-type")}
	if json.Unmarshal(x.Response.Body, &out.body) != nil {
		out.body = string(x.Response.Body)
	}
	if x.After != nil {
		out.device = normalDumps(t, x.After)
	}
	return out
}

// replay sends the exchange to our agent.
func (w *world) replay(x exchange) outcome {
	t := w.t
	conn, err := net.Dial("tcp", w.node.http.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		conn.Write(x.raw(t)) // an agent may answer before it has read all
	}()
	method := x.Request.Method
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, &http.Request{Method: method})
	require.NoError(t, err, x.Name)
	if res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(from, &http.Request{Method: method})
		require.NoError(t, err, x.Name)
	}
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err, x.Name)
	conn.Close()
	<-sent
	out := outcome{status: res.StatusCode, contentType: res.Header.Get("Content-Type"), body: string(body)}
	var names map[string]string
	switch {
	case x.After == nil:
	case json.Unmarshal(x.After, &names) == nil:
		for name := range names {
			names[name] = w.dump(name)
		}
		data, err := json.Marshal(names)
		require.NoError(t, err)
		out.device = normalDumps(t, data)
	default:
		name := "wg0"
		if strings.HasPrefix(x.Request.Path, "/v1/wg/wg1/") {
			name = "wg1"
		}
		data, err := json.Marshal(w.dump(name))
		require.NoError(t, err)
		out.device = normalDumps(t, data)
	}
	return out
}

// TestReplayOnNetstack sends the recorded requests to our agent and compares the answers and the
// devices with those of the original. What differs stands in the table, each with its reason.
func TestReplayOnNetstack(t *testing.T) {
	replayAll(&world{t: t, newBackend: func() engine.Backend {
		return userspace.NewNetstack(userspace.Options{Bind: network.NewWire().Bind})
	}})
}

func replayAll(w *world) {
	t := w.t
	t.Helper()
	all := recordings(t)
	w.recorded = make(map[string]outcome)
	for _, x := range all {
		if x.Response != nil {
			w.recorded[x.Name] = x.recorded(t)
		}
	}
	defer w.stop()
	used := make(map[string]bool)
	last := ""
	for _, x := range all {
		if x.Response == nil {
			w.checkHost(x, used)
			continue
		}
		at, err := http.ParseTime(x.header("date"))
		require.NoError(t, err, x.Name)
		w.setClock(at)
		if !w.before(x.Name) && last != "" {
			w.force(last)
		}
		last = ""
		if err := json.Unmarshal(x.After, &last); err != nil {
			last = ""
		}
		before := w.dump("wg0")
		got := w.replay(x)
		w.check(x, differences(w.recorded[x.Name], got), got, normalDump(before), used)
	}
	for _, row := range differ {
		for name := range strings.FieldsSeq(row.names) {
			if !used[name] {
				t.Errorf("the table lists %s, where nothing differs", name)
			}
		}
	}
}

// check finds the row of the table for what differs.
func (w *world) check(x exchange, found []string, got outcome, before string, used map[string]bool) {
	row, listed := rowOf(x.Name)
	if len(found) == 0 {
		return
	}
	if !listed {
		w.t.Errorf("%s differs:\n%s", x.Name, strings.Join(found, "\n"))
		return
	}
	used[x.Name] = true
	if got.status != row.status {
		w.t.Errorf("%s: status %d, the table says %d: %s", x.Name, got.status, row.status, got.body)
	}
	var e agent.Error
	if json.Unmarshal([]byte(got.body), &e) == nil && e.Code != row.code {
		w.t.Errorf("%s: code %q, the table says %q: %s", x.Name, e.Code, row.code, got.body)
	}
	if got.status >= 400 && got.device != "" && got.device != before {
		w.t.Errorf("%s was refused, but changed the device", x.Name)
	}
	if twin, is := w.recorded[row.as]; row.as != "" && (!is || twin.contentType != got.contentType || !sameBody(twin.body, got.body)) {
		w.t.Errorf("%s: not the answer of %s:\n%s\nthe original's\n%s", x.Name, row.as, got.body, twin.body)
	}
	if !strings.Contains(got.body, row.has) || !strings.Contains(got.device, row.device) {
		w.t.Errorf("%s: the table expects %q in the answer and %q in the device:\n%s\n%s", x.Name, row.has, row.device, got.body, got.device)
	}
}

// checkHost compares which hooks ran, and whether the interface is up.
func (w *world) checkHost(x exchange, used map[string]bool) {
	_, err := w.backend().Attach(w.t.Context(), "wg0")
	made := w.hooks.made()
	same := slices.Equal(made, x.TmpFiles) && (err == nil) == x.Up
	row, listed := rowOf(x.Name)
	switch {
	case !same && !listed:
		w.t.Errorf("%s: hooks %v, up %v; the original's %v, %v", x.Name, made, err == nil, x.TmpFiles, x.Up)
	case !same:
		used[x.Name] = true
		if got := fmt.Sprint(made, err == nil); got != row.has {
			w.t.Errorf("%s: %s, the table says %s", x.Name, got, row.has)
		}
	}
}

func rowOf(name string) (difference, bool) {
	for _, row := range differ {
		if slices.Contains(strings.Fields(row.names), name) {
			return row, true
		}
	}
	return difference{}, false
}
