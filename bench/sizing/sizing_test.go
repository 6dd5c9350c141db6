// Package sizing measures what the processes of a fleet take: memory, processor and disk, by the number
// of peers and nodes, without traffic. docs/sizing.md has the results and says how to get them anew.
package sizing

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

const (
	secret = "sizing-secret-000-long-enough"
	// settle is how long a process rests before it is measured, window how long it is.
	settle = 10 * time.Second
	window = 20 * time.Second
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run()) // nothing here needs the binary
	}
	os.Exit(binary.Main(m))
}

// some are all sizes, or with -short the first: enough to see that it can be measured.
func some(sizes ...int) []int {
	if testing.Short() {
		return sizes[:1]
	}
	return sizes
}

// BenchmarkSizingAgent is an agent alone, with one interface.
func BenchmarkSizingAgent(b *testing.B) {
	for _, peers := range some(0, 100, 1000, 10000) {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			for range b.N {
				home := b.TempDir()
				writeInterfaces(b, home, 1, peers)
				p := serve(b, home)
				<-time.After(settle)
				used := idle(p)
				b.ReportMetric(float64(p.started.Milliseconds()), "ms-start")
				b.ReportMetric(p.memory("VmRSS"), "MB-rss")
				b.ReportMetric(p.memory("VmHWM"), "MB-peak")
				b.ReportMetric(used[0], "%cpu")
				b.ReportMetric(p.disk(), "MB-disk")
				p.Stop()
			}
		})
	}
}

// BenchmarkSizingPanel is a panel that watches nodes, whose peers it has taken over. One agent with an
// interface a node stands for all of them.
func BenchmarkSizingPanel(b *testing.B) {
	for _, nodes := range some(10, 100) {
		for _, peers := range some(1000, 10000) {
			b.Run(fmt.Sprintf("nodes=%d/peers=%d", nodes, peers), func(b *testing.B) {
				for range b.N {
					benchPanel(b, nodes, peers)
				}
			})
		}
	}
}

func benchPanel(b *testing.B, nodes, peers int) {
	b.Helper()
	agents := b.TempDir()
	writeInterfaces(b, agents, nodes, peers/nodes)
	a := serve(b, agents)
	home := b.TempDir()
	p := serve(b, home, "--panel", "--no-agent")
	for i := range nodes {
		var n struct{ ID string }
		p.call(http.MethodPost, "/api/nodes", map[string]any{
			"name": fmt.Sprintf("node%d", i), "agent_url": a.AgentURL, "wg_interface": fmt.Sprintf("wg%d", i), "secret": secret,
			"override_keepalive": 0,
		}, &n)
		p.call(http.MethodPost, "/api/nodes/"+n.ID+"/adopt", nil, nil)
	}
	peak := p.memory("VmHWM")
	p.Stop()
	p = serve(b, home, "--panel", "--no-agent")
	<-time.After(settle)
	used := idle(p, a)
	began := time.Now()
	var fleet struct {
		Summary struct {
			Total  int `json:"total_nodes"`
			Drift  int `json:"nodes_with_drift"`
			Missed int `json:"nodes_unknown"`
		}
	}
	rss := p.memory("VmRSS")
	p.call(http.MethodGet, "/api/drift/nodes", nil, &fleet)
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-look")
	require.Equal(b, nodes, fleet.Summary.Total)
	require.Zero(b, fleet.Summary.Drift+fleet.Summary.Missed, "the fleet is in sync")
	b.ReportMetric(float64(p.started.Milliseconds()), "ms-start")
	b.ReportMetric(rss, "MB-rss")
	b.ReportMetric(max(peak, p.memory("VmHWM")), "MB-peak")
	b.ReportMetric(used[0], "%cpu")
	b.ReportMetric(used[1], "%cpu-agents")
	b.ReportMetric(p.disk(), "MB-disk")
	p.Stop()
	a.Stop()
}

// writeInterfaces writes the files of n interfaces with that many peers each.
func writeInterfaces(b *testing.B, home string, n, peers int) {
	b.Helper()
	dir := filepath.Join(home, "wireguard")
	require.NoError(b, os.MkdirAll(dir, 0o700))
	for i := range n {
		var f strings.Builder
		fmt.Fprintf(&f, "[Interface]\nPrivateKey = %s\nAddress = 10.%d.0.1/16\n", key("private", i, 0), i)
		for j := range peers {
			fmt.Fprintf(&f, "\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.%d/32\n", key("peer", i, j), i, 1+j/250, 1+j%250)
		}
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("wg%d.conf", i)), []byte(f.String()), 0o600))
	}
}

func key(kind string, i, j int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", kind, i, j))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var client = &http.Client{Timeout: 5 * time.Minute}

// call asks the panel and reads the data of its answer into out, unless that is nil.
func (p *process) call(method, path string, body, out any) {
	p.b.Helper()
	text := []byte{}
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		require.NoError(p.b, err)
	}
	req, err := http.NewRequestWithContext(p.b.Context(), method, p.PanelURL+path, bytes.NewReader(text))
	require.NoError(p.b, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	res, err := client.Do(req)
	require.NoError(p.b, err)
	defer res.Body.Close()
	var a struct {
		Status  bool
		Message string
		Data    json.RawMessage
	}
	require.NoError(p.b, json.NewDecoder(res.Body).Decode(&a))
	require.True(p.b, a.Status, "%s %s: %d %s", method, path, res.StatusCode, a.Message)
	if out != nil {
		require.NoError(p.b, json.Unmarshal(a.Data, out))
	}
}
