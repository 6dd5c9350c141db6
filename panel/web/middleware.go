package web

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
)

// Names of what a request carries through its handlers.
const (
	ctxRequestID = "request_id"
	ctxKeyName   = "key_name"
	ctxError     = "error" // what went wrong here
)

const requestIDHeader = "X-Request-Id"

// goodRequestID is a caller's own id that may enter our log and answer.
var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// identify gives the request an id, the caller's own where it has one, and sets the headers that
// hold for every answer.
func (s *Server) identify(c *gin.Context) {
	id := c.GetHeader(requestIDHeader)
	if !goodRequestID.MatchString(id) {
		id = rand.Text()
	}
	c.Set(ctxRequestID, id)
	h := c.Writer.Header()
	h.Set(requestIDHeader, id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	// Answers are of the moment, and some hold a secret.
	h.Set("Cache-Control", "no-store")
}

func requestID(c *gin.Context) string { return c.GetString(ctxRequestID) }

// observe writes one line a request, and counts it. The path is the route's template: ids and
// queries stay out, and so does the key; its name is there.
func (s *Server) observe(c *gin.Context) {
	start := s.now()
	defer func() { s.record(c, start) }() // also of one that is cut off
	c.Next()
}

func (s *Server) record(c *gin.Context, start time.Time) {
	took := s.now().Sub(start)
	template, status := c.FullPath(), c.Writer.Status()
	if template == "" {
		template = "none"
	}
	s.metrics.observe(c.Request.Method, template, status, took)
	attrs := []slog.Attr{
		slog.String("method", c.Request.Method), slog.String("route", template),
		slog.Int("status", status), slog.Float64("ms", float64(took)/float64(time.Millisecond)),
		slog.String("key", c.GetString(ctxKeyName)), slog.String("client", c.ClientIP()),
		slog.String("request_id", requestID(c)),
	}
	level := slog.LevelInfo
	if template == healthPath {
		level = slog.LevelDebug
	}
	if v, ok := c.Get(ctxError); ok {
		level = slog.LevelError
		attrs = append(attrs, slog.String("error", fmt.Sprint(v)))
	}
	s.log.LogAttrs(c.Request.Context(), level, "request", attrs...)
}

// recoverPanic answers a panic with 500 and logs its stack.
func (s *Server) recoverPanic(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
			panic(v)
		}
		s.log.LogAttrs(c.Request.Context(), slog.LevelError, "panic",
			slog.String("request_id", requestID(c)), slog.String("panic", fmt.Sprint(v)),
			slog.String("stack", string(debug.Stack())))
		s.fail(c, fmt.Errorf("panic: %v", v))
	}()
	c.Next()
}
