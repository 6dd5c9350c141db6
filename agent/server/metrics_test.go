package server

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	names "github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func TestMetricsPolicies(t *testing.T) {
	hashed := regexp.MustCompile(`wireguard_peer_receive_bytes_total\{interface="wg0",public_key="[0-9a-f]{8}"\} 7`)
	for _, c := range []struct {
		policy           Policy
		unsigned, signed int
		keys             bool
	}{{MetricsOpen, 200, 200, false}, {MetricsFull, 200, 200, true}, {MetricsSigned, 401, 200, true}, {MetricsOff, 401, 404, false}} {
		n := newNode(t, func(o *Options) { withConf(t)(o); o.Metrics = c.policy })
		n.mustDo("POST", peersPath, peer(1))
		n.fake().SetStats(enginetest.PeerKey(1), engine.Stats{RxBytes: 7, TxBytes: 8})
		require.Equal(t, c.unsigned, n.send(n.request("GET", "/v1/metrics", nil)).status, c.policy)
		r := n.do("GET", "/v1/metrics", nil)
		require.Equal(t, c.signed, r.status, c.policy)
		if r.status != 200 {
			continue
		}
		text := string(r.body)
		parser := expfmt.NewTextParser(names.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(text))
		require.NoError(t, err)
		require.Contains(t, families, "wgdashboard_agent_cpu_percent")
		require.Equal(t, c.keys, strings.Contains(text, key(1)))
		require.Equal(t, !c.keys, hashed.MatchString(text))
		require.Equal(t, c.keys, strings.Contains(text, `wireguard_sent_bytes_total{allowed_ips="10.0.0.3/32",interface="wg0",public_key="`+key(1)+`"} 8`))
	}
}

// blockedResolver waits until its test lets it go.
type blockedResolver struct{ asked, free chan struct{} }

func (r blockedResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	close(r.asked)
	select {
	case <-r.free:
		return []netip.Addr{netip.MustParseAddr("192.0.2.5")}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestSlowResolverHoldsUpNobody: names are looked up before the interface is taken.
func TestSlowResolverHoldsUpNobody(t *testing.T) {
	resolver := blockedResolver{make(chan struct{}), make(chan struct{})}
	n := newNode(t, func(o *Options) { withConf(t)(o); o.Resolver = resolver })
	done := make(chan reply)
	go func() {
		done <- n.do("POST", "/v1/wg/wg0/syncconf", confBody("[Peer]\nPublicKey = "+key(1)+"\nEndpoint = slow.example:7\n"))
	}()
	<-resolver.asked
	n.mustDo("POST", peersPath, peer(2))
	n.mustDo("GET", dumpPath, nil)
	close(resolver.free)
	require.Equal(t, 200, (<-done).status)
	require.Equal(t, "192.0.2.5:7", n.device("wg0").Peers[0].Endpoint.String())
}

func TestUnknownHostIsNamed(t *testing.T) {
	n := newNode(t, func(o *Options) { withConf(t)(o); o.Resolver = noHosts{} })
	r := n.do("POST", "/v1/wg/wg0/syncconf", confBody("[Peer]\nPublicKey = "+key(1)+"\nEndpoint = no.such.host:7\n"))
	require.Equal(t, agent.CodeInvalidField, r.code(t))
	require.Contains(t, string(r.body), "no.such.host")
	require.Empty(t, n.device("wg0").Peers)
}

func TestStatusOfTheHost(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	var s agent.NodeStatus
	n.mustDo("GET", "/v1/status", nil).decode(t, &s)
	require.Equal(t, "ok", s.Status)
	require.Equal(t, "test", s.Version)
	require.NotZero(t, s.System.Memory.Total)
	require.Equal(t, 1, s.WireGuard.Interfaces["wg0"].PeerCount)
	var h agent.Health
	n.mustDo("GET", "/health", nil).decode(t, &h)
	require.Equal(t, n.server.ID(), h.AgentID)
	require.Subset(t, h.Capabilities, []string{agent.CapV2, agent.CapETag, agent.CapApply})
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Backend: enginetest.NewFake(), ConfDir: t.TempDir(), DataDir: t.TempDir(), Secret: testSecret}
	for name, edit := range map[string]func(*Options){
		"backend": func(o *Options) { o.Backend = nil }, "conf": func(o *Options) { o.ConfDir = "" }, "data": func(o *Options) { o.DataDir = "" },
		"secret": func(o *Options) { o.Secret = "" }, "hooks": func(o *Options) { o.Hooks = "some" }, "expose": func(o *Options) { o.ExposeSecrets = "x" }, "metrics": func(o *Options) { o.Metrics = "x" },
	} {
		o := good
		edit(&o)
		_, err := New(o)
		require.Error(t, err, name)
	}
	s, err := New(good)
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context(), true))
	require.NoError(t, s.Close(t.Context(), true), "twice is fine")
}
