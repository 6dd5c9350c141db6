package server

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

const (
	scrapeEvery   = time.Second // the route may be open to all
	scrapeTimeout = 10 * time.Second
)

// scraper makes the text of GET /v1/metrics, at most once a second.
type scraper struct {
	server   *Server
	registry *prometheus.Registry
	hashKey  []byte
	peers    bool // with whole keys, and the exporter's series

	mu   sync.Mutex // protects what follows; held while the devices are read
	at   time.Time
	text []byte
}

func newScraper(s *Server) *scraper {
	m := hmac.New(sha256.New, []byte(s.o.Secret))
	m.Write([]byte("wgfleet metrics 1"))
	sc := &scraper{
		server: s, registry: prometheus.NewRegistry(), hashKey: m.Sum(nil),
		peers: s.o.Metrics == MetricsFull || s.o.Metrics == MetricsSigned,
	}
	sc.registry.MustRegister(sc)
	return sc
}

var (
	onInterface = []string{"interface"}
	onPeer      = []string{"interface", "public_key"}
	onExported  = []string{"interface", "public_key", "allowed_ips"}

	descCPU        = desc("wgdashboard_agent_cpu_percent", "CPU usage percentage", nil)
	descMemory     = desc("wgdashboard_agent_memory_used_bytes", "Memory used in bytes", nil)
	descMemoryPart = desc("wgdashboard_agent_memory_percent", "Memory usage percentage", nil)
	descDisk       = desc("wgdashboard_agent_disk_used_bytes", "Disk used in bytes", nil)
	descCount      = desc("wireguard_interface_count", "Number of WireGuard interfaces", nil)
	descPeers      = desc("wireguard_peers_total", "Total number of peers on interface", onInterface)
	descActive     = desc("wireguard_peers_active", "Active peers (handshake within 3 minutes)", onInterface)
	descRx         = desc("wireguard_interface_receive_bytes_total", "Total bytes received on interface", onInterface)
	descTx         = desc("wireguard_interface_transmit_bytes_total", "Total bytes transmitted on interface", onInterface)
	descPeerRx     = desc("wireguard_peer_receive_bytes_total", "Bytes received from peer", onPeer)
	descPeerTx     = desc("wireguard_peer_transmit_bytes_total", "Bytes transmitted to peer", onPeer)
	descPeerAge    = desc("wireguard_peer_last_handshake_seconds", "Seconds since the last handshake of peer", onPeer)
	descSent       = desc("wireguard_sent_bytes_total", "Bytes sent to the peer", onExported)
	descReceived   = desc("wireguard_received_bytes_total", "Bytes received from the peer", onExported)
	descHandshake  = desc("wireguard_latest_handshake_seconds", "UNIX timestamp seconds of the last handshake", onExported)
)

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// metrics is GET /v1/metrics.
func (s *Server) metrics(ctx context.Context, _ *request) (*answer, error) {
	if s.o.Metrics == MetricsOff {
		e := agent.Errorf(agent.CodeNotFound, "there are no metrics here: WG_AGENT_METRICS is off")
		e.Detail = "Not Found"
		return nil, e
	}
	text, err := s.scrape.render()
	if err != nil {
		return nil, err
	}
	return &answer{
		status: http.StatusOK, body: text,
		header: http.Header{"Content-Type": {"text/plain; version=0.0.4; charset=utf-8"}},
	}, ctx.Err()
}

func (sc *scraper) render() ([]byte, error) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if time.Since(sc.at) < scrapeEvery {
		return sc.text, nil
	}
	families, err := sc.registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	var b bytes.Buffer
	e := expfmt.NewEncoder(&b, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return nil, fmt.Errorf("encode metrics: %w", err)
		}
	}
	sc.text, sc.at = b.Bytes(), time.Now()
	return sc.text, nil
}

// Describe says nothing, which makes the collector an unchecked one: its series come and go.
func (sc *scraper) Describe(chan<- *prometheus.Desc) {}

// Collect reads the host and all devices.
func (sc *scraper) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(sc.server.running, scrapeTimeout)
	defer cancel()
	system := sc.server.host.sample(ctx)
	gauge(out, descCPU, system.CPUPercent)
	gauge(out, descMemory, float64(system.Memory.Used))
	gauge(out, descMemoryPart, system.Memory.Percent)
	gauge(out, descDisk, float64(system.Disk.Used))
	all := sc.server.observeAll(ctx)
	gauge(out, descCount, float64(len(all)))
	for _, o := range all {
		sc.collect(out, o)
	}
	sc.collectGateways(ctx, out)
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, v int64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (sc *scraper) collect(out chan<- prometheus.Metric, o engine.Observation) {
	name, now := o.Interface.Name, sc.server.o.Now()
	var rx, tx int64
	active := 0
	byLabel := make(map[string]engine.Stats, len(o.Peers))
	for _, p := range o.Peers {
		st := o.Stats[p.PublicKey]
		rx, tx = rx+st.RxBytes, tx+st.TxBytes
		if !st.LastHandshake.IsZero() && now.Sub(st.LastHandshake) < activeWithin {
			active++
		}
		label := sc.label(p.PublicKey)
		sum := byLabel[label] // two keys with one hash are one series
		sum.RxBytes, sum.TxBytes = sum.RxBytes+st.RxBytes, sum.TxBytes+st.TxBytes
		if st.LastHandshake.After(sum.LastHandshake) {
			sum.LastHandshake = st.LastHandshake
		}
		byLabel[label] = sum
		if sc.peers {
			exported(out, name, p, st)
		}
	}
	gauge(out, descPeers, float64(len(o.Peers)), name)
	gauge(out, descActive, float64(active), name)
	counter(out, descRx, rx, name)
	counter(out, descTx, tx, name)
	for label, st := range byLabel {
		counter(out, descPeerRx, st.RxBytes, name, label)
		counter(out, descPeerTx, st.TxBytes, name, label)
		if !st.LastHandshake.IsZero() {
			gauge(out, descPeerAge, now.Sub(st.LastHandshake).Seconds(), name, label)
		}
	}
}

// exported are the series of prometheus_wireguard_exporter.
func exported(out chan<- prometheus.Metric, name string, p engine.Peer, st engine.Stats) {
	ips := make([]string, len(p.AllowedIPs))
	for i, ip := range p.AllowedIPs {
		ips[i] = ip.String()
	}
	labels := []string{name, p.PublicKey.String(), strings.Join(ips, ",")}
	counter(out, descSent, st.TxBytes, labels...)
	counter(out, descReceived, st.RxBytes, labels...)
	at := 0.0
	if !st.LastHandshake.IsZero() {
		at = float64(st.LastHandshake.Unix())
	}
	gauge(out, descHandshake, at, labels...)
}

// label names a peer: by its key, or by a keyed hash of it where everybody may look.
func (sc *scraper) label(key wgtypes.Key) string {
	if sc.peers {
		return key.String()
	}
	m := hmac.New(sha256.New, sc.hashKey)
	m.Write(key[:])
	return hex.EncodeToString(m.Sum(nil)[:4])
}

// observeAll reads every interface that is up; one that can't be read is left out and logged.
func (s *Server) observeAll(ctx context.Context) []engine.Observation {
	var out []engine.Observation
	for _, name := range s.names(ctx) {
		sl, d, err := s.forRead(ctx, name)
		if err != nil {
			continue // down
		}
		o, err := d.Observe(ctx)
		if err != nil {
			s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "an interface can't be read",
				slog.String("interface", name), slog.String("error", sl.lost(d, err).Error()))
			continue
		}
		out = append(out, o)
	}
	return out
}
