package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// benchNode is an agent with n peers on netstack, called without a network.
func benchNode(b *testing.B, n int) *node {
	b.Helper()
	var conf strings.Builder
	conf.WriteString(basicConf(b))
	for _, p := range enginetest.Peers(n) {
		fmt.Fprintf(&conf, "\n[Peer]\nPublicKey = %s\nAllowedIPs = %s\n", p.PublicKey, p.AllowedIPs[0])
	}
	return newNode(b, func(o *Options) {
		o.Backend = userspace.NewNetstack(userspace.Options{Bind: network.NewWire().Bind})
		writeConf(b, o, "wg0", conf.String())
	})
}

// call is a signed request that goes to the handler directly.
func (n *node) call(method, target string, body []byte, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	n.callTo(w, method, target, body, headers...)
	return w
}

func (n *node) callTo(w http.ResponseWriter, method, target string, body []byte, headers ...string) {
	n.callWith(context.Background(), w, method, target, body, headers...)
}

func (n *node) callWith(ctx context.Context, w http.ResponseWriter, method, target string, body []byte, headers ...string) {
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(string(body)))
	stamp, nonce := strconv.FormatInt(n.now().Unix(), 10), agent.NewNonce()
	r.Header.Set(agent.HeaderTimestamp, stamp)
	r.Header.Set(agent.HeaderNonce, nonce)
	r.Header.Set(agent.HeaderNode, n.server.ID())
	r.Header.Set(agent.HeaderSignature, n.o.Secret.SignV2(agent.Request{
		Method: method, Target: target, Body: body, Timestamp: stamp, Nonce: nonce, Node: n.server.ID(),
	}))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	n.server.ServeHTTP(w, r)
}

var sizes = []int{10, 1000, 10000}

func eachSize(b *testing.B, run func(*testing.B, *node, int)) {
	for _, n := range sizes {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			node := benchNode(b, n)
			b.ReportAllocs()
			run(b, node, n)
		})
	}
}

func BenchmarkDump(b *testing.B) {
	eachSize(b, func(b *testing.B, n *node, _ int) {
		for b.Loop() {
			require.Equal(b, 200, n.call("GET", "/v1/wg/wg0/dump", nil).Code)
		}
	})
}

func BenchmarkNotModified(b *testing.B) {
	eachSize(b, func(b *testing.B, n *node, _ int) {
		tag := n.call("GET", "/v1/wg/wg0/dump", nil).Header().Get("ETag")
		for b.Loop() {
			require.Equal(b, 304, n.call("GET", "/v1/wg/wg0/dump", nil, "If-None-Match", tag).Code)
		}
	})
}

// BenchmarkAddPeer adds one peer, durably.
func BenchmarkAddPeer(b *testing.B) {
	eachSize(b, func(b *testing.B, n *node, size int) {
		i := size
		for b.Loop() {
			i++
			body := fmt.Sprintf(`{"public_key":%q,"allowed_ips":["%s/32"]}`, key(i), enginetest.PeerIP(i))
			require.Equal(b, 200, n.call("POST", "/v1/wg/wg0/peers", []byte(body)).Code)
		}
	})
}

// BenchmarkApply changes the keepalive of every tenth peer and back.
func BenchmarkApply(b *testing.B) {
	eachSize(b, func(b *testing.B, n *node, size int) {
		body := func(keepalive int) []byte {
			var out strings.Builder
			out.WriteString(`{"changes":[`)
			for i := 0; i < size; i += 10 {
				if i > 0 {
					out.WriteString(",")
				}
				fmt.Fprintf(&out, `{"op":"put","public_key":%q,"persistent_keepalive":%d}`, enginetest.Peers(size)[i].PublicKey, keepalive)
			}
			return []byte(out.String() + "]}")
		}
		bodies := [][]byte{body(0), body(25)}
		turn := 0
		for b.Loop() {
			turn++
			require.Equal(b, 200, n.call("POST", "/v1/wg/wg0/apply", bodies[turn%2]).Code)
		}
	})
}
