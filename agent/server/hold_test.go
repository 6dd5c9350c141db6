package server

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
)

// holdRaw holds a signed request on a connection of its own, of which the client keeps next to nothing.
func (n *node) holdRaw(t testing.TB, addr, tag, body string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	stamp, nonce := strconv.FormatInt(n.now().Unix(), 10), agent.NewNonce()
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\nPrefer: wait=60\r\nContent-Length: %d\r\n%s: %s\r\n%s: %s\r\n%s: %s\r\n%s: %s\r\n\r\n%s",
		dumpPath, tag, len(body), agent.HeaderTimestamp, stamp, agent.HeaderNonce, nonce, agent.HeaderNode, n.server.ID(),
		agent.HeaderSignature, n.o.Secret.SignV2(agent.Request{Method: "GET", Target: dumpPath, Body: []byte(body), Timestamp: stamp, Nonce: nonce, Node: n.server.ID()}), body)
	require.NoError(t, err)
	return c
}

func (n *node) holding() int {
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	held := 0
	for _, lo := range n.server.lookouts {
		held += lo.holders
	}
	return held
}

func (n *node) untilHeld(t testing.TB, count int) {
	t.Helper()
	require.Eventually(t, func() bool { return n.holding() == count }, 30*time.Second, time.Millisecond)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestManyHeldRequestsTakeNothingFromOthers: no budget of bodies, no patience with wrong signatures, no slot.
func TestManyHeldRequestsTakeNothingFromOthers(t *testing.T) {
	const count = 300
	n := newNode(t, withConf(t))
	tag, addr := n.tag(), n.http.Listener.Addr().String()
	conns := make([]net.Conn, count)
	before := heap()
	large := strings.Repeat("x", 4<<20)
	for i := range conns {
		body := ""
		if i < 8 {
			body = large
		}
		conns[i] = n.holdRaw(t, addr, tag, body)
	}
	n.untilHeld(t, count)
	require.Less(t, int64(heap()-before), int64(len(large)*4), "a body is not kept while we wait")
	require.Zero(t, n.server.budget.held)
	require.Empty(t, n.server.failures.source)
	require.Len(t, n.server.lookouts, 1)
	n.mustDo("GET", "/v1/status", nil)
	require.Equal(t, 304, n.do("GET", dumpPath, nil, header("If-None-Match", tag)).status)

	for _, c := range conns[:count/2] {
		c.Close()
	}
	n.untilHeld(t, count/2) // who hung up is gone, long before the deadline
	n.mustDo("POST", peersPath, peer(1))
	for _, c := range conns[count/2:] {
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 200, r.StatusCode)
		require.NotEmpty(t, r.Header.Get(agent.HeaderResponseSignature))
		r.Body.Close()
		c.Close()
	}
	n.untilHeld(t, 0)
}

// TestShutdownLetsGo: the one who waits has an answer, and the server stops at once.
func TestShutdownLetsGo(t *testing.T) {
	n := newNode(t, withConf(t))
	tag := n.tag()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := NewHTTPServer(n.server, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	c := n.holdRaw(t, l.Addr().String(), tag, "")
	defer c.Close()
	n.untilHeld(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, h.Shutdown(ctx))
	require.ErrorIs(t, <-done, http.ErrServerClosed)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 304, r.StatusCode)
	require.Equal(t, tag, r.Header.Get("ETag"))
	r.Body.Close()
}

// BenchmarkHeld holds a thousand requests: what each costs the agent while it waits.
func BenchmarkHeld(b *testing.B) {
	const count = 1000
	n := benchNode(b, 10)
	tag, addr := n.tag(), n.http.Listener.Addr().String()
	for b.Loop() {
		memory, goroutines := heap(), runtime.NumGoroutine()
		conns := make([]net.Conn, count)
		for i := range conns {
			conns[i] = n.holdRaw(b, addr, tag, "")
		}
		n.untilHeld(b, count)
		b.ReportMetric(float64(heap()-memory)/count, "B/held")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/count, "goroutines/held")
		for _, c := range conns {
			c.Close()
		}
		n.untilHeld(b, 0)
	}
}
