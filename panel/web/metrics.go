package web

import (
	"fmt"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// requestMetrics count requests by route template; paths and keys are in no label.
type requestMetrics struct {
	total   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newRequestMetrics(r prometheus.Registerer) (*requestMetrics, error) {
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
	for _, c := range []prometheus.Collector{m.total, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register request metrics: %w", err)
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

func metricsAction(g prometheus.Gatherer) action {
	h := promhttp.HandlerFor(g, promhttp.HandlerOpts{})
	return opRaw("text/plain", func(c *gin.Context) error {
		h.ServeHTTP(c.Writer, c.Request)
		return nil
	})
}
