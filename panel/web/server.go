package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

// Options of a Server. Panel is needed; the rest has defaults.
type Options struct {
	Panel UseCases

	Logger         *slog.Logger     // default: none
	Now            func() time.Time // default: time.Now
	RateLimit      RateLimit        // default: DefaultRateLimit
	TrustedProxies []string         // addresses and prefixes whose X-Forwarded-For is believed; default: none
	Version        string           // shown by /api/health
	// Registerer takes the metrics of requests and nodes; nil keeps none.
	Registerer prometheus.Registerer
	// Restorer restores backups; nil leaves that route out.
	Restorer Restorer
	// Gatherer is what /metrics shows; nil leaves that route out.
	Gatherer prometheus.Gatherer
}

// Server is the panel's HTTP API.
type Server struct {
	panel    UseCases
	restorer Restorer

	log     *slog.Logger
	now     func() time.Time
	limits  *limits
	metrics *requestMetrics
	version string

	routes  []route
	openAPI []byte // the description
	docs    []byte // its page
	engine  *gin.Engine

	proxies []netip.Prefix  // that are trusted
	backups chan struct{}   // full while one is made or restored
	streams chan struct{}   // full while as many are open as may be
	closing context.Context //nolint:containedctx // of all streams: it ends with the server
	close   context.CancelFunc
}

// New makes a Server. It errs where the use cases are missing, on a proxy that is no address, a limit without
// sense, and a route that says no role.
func New(o Options) (*Server, error) {
	if o.Panel == nil {
		return nil, errors.New("web: Panel, the use cases, is needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	limits, err := newLimits(o.RateLimit, o.Now)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(o.Registerer, o.Panel)
	if err != nil {
		return nil, err
	}
	s := &Server{
		panel: o.Panel, restorer: o.Restorer, proxies: prefixesOf(o.TrustedProxies), log: o.Logger, now: o.Now, limits: limits, metrics: metrics, version: o.Version,
	}
	s.backups = make(chan struct{}, 1)
	s.streams = make(chan struct{}, maxStreams)
	s.closing, s.close = context.WithCancel(context.Background())
	s.routes = s.table(o.Gatherer)
	if s.openAPI, s.docs, err = describe(s.routes, o.Version); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	if s.engine, err = s.newEngine(o.TrustedProxies); err != nil {
		return nil, err
	}
	return s, nil
}

// Handler serves the API.
func (s *Server) Handler() http.Handler { return s.engine }

// EndStreams ends all streams, so that a server may stop that has some; no other one begins.
func (s *Server) EndStreams() { s.close() }

// releaseMode keeps gin from printing; it is a setting of the whole process.
var releaseMode = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

func (s *Server) newEngine(proxies []string) (*gin.Engine, error) {
	releaseMode()
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.RedirectFixedPath = false
	e.HandleMethodNotAllowed = true
	e.RemoteIPHeaders = []string{"X-Forwarded-For"}
	// gin trusts every proxy unless told otherwise; nil is none.
	if err := e.SetTrustedProxies(proxies); err != nil {
		return nil, fmt.Errorf("trusted proxies: %w", err)
	}
	e.Use(s.identify, s.observe, s.recoverPanic)
	e.NoRoute(s.limitAddress, func(c *gin.Context) { s.fail(c, errNoRoute) })
	e.NoMethod(s.limitAddress, func(c *gin.Context) { s.fail(c, errNoMethod) })
	for _, r := range s.routes {
		if err := r.check(); err != nil {
			return nil, err
		}
		e.Handle(r.method, ginPath(r.path), s.admit(r.role), s.run(r.action))
	}
	return e, nil
}

// ginPath turns /a/{id} into /a/:id.
func ginPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

func (s *Server) run(a action) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := a.run(c); err != nil {
			s.fail(c, err)
		}
	}
}
