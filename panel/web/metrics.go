package web

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wgfleet/wgfleet/panel"
)

// requestMetrics count requests by route template; paths and keys are in no label.
type requestMetrics struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer, nodes Nodes) (*requestMetrics, error) {
	m := &requestMetrics{
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wgfleet_panel_requests_total", Help: "Requests to the panel's API.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wgfleet_panel_request_seconds", Help: "Time until a request was answered.",
			Buckets: []float64{.001, .005, .025, .1, .5, 1, 5, 30},
		}, []string{"route"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.total, m.seconds, nodeMetrics{nodes}} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *requestMetrics) observe(method, template string, status int, took time.Duration) {
	if template == "none" {
		method = "any" // anybody can invent methods; a label must stay bounded
	}
	m.total.WithLabelValues(method, template, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(template).Observe(took.Seconds())
}

var (
	nodesDesc = prometheus.NewDesc("wgfleet_panel_nodes", "Nodes by their health.", []string{"health"}, nil)
	driftDesc = prometheus.NewDesc("wgfleet_panel_node_drift",
		"1 for what the last look said of the node; unknown where it no longer answers.", []string{"node", "status"}, nil)
)

// nodeMetrics shows what is known of the nodes; a scrape contacts none.
type nodeMetrics struct{ nodes Nodes }

// Describe names the metrics.
func (m nodeMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- nodesDesc
	out <- driftDesc
}

// metricsTimeout bounds listing the nodes for one scrape.
const metricsTimeout = 5 * time.Second

// Collect lists the nodes. Where that fails, nothing is said of any.
func (m nodeMetrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), metricsTimeout)
	defer cancel()
	nodes, _, err := m.nodes.Nodes(ctx, panel.Page{})
	if err != nil {
		out <- prometheus.NewInvalidMetric(nodesDesc, err)
		return
	}
	count := map[string]int{panel.HealthOnline: 0, panel.HealthOffline: 0, panel.HealthUnknown: 0, "disabled": 0}
	for _, n := range nodes {
		health := n.Status.Health
		if !n.Enabled {
			health = "disabled"
		}
		count[health]++
		out <- prometheus.MustNewConstMetric(driftDesc, prometheus.GaugeValue, 1, n.Name, n.Verdict())
	}
	for health, c := range count {
		out <- prometheus.MustNewConstMetric(nodesDesc, prometheus.GaugeValue, float64(c), health)
	}
}

func metricsAction(g prometheus.Gatherer) action {
	// A collector that fails takes none of the others with it.
	h := promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return opRaw("text/plain", func(c *gin.Context) error {
		h.ServeHTTP(c.Writer, c.Request)
		return nil
	})
}
