package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// request is one request on its way through the server.
type request struct {
	id     string // for the log and the answer to a failure
	http   *http.Request
	route  route
	target string // path and query as on the wire
	body   []byte // only after verification
	mac    engine.MACKey
	v2     bool
	signer agent.Secret // the secret that verified it; "" before that
}

type handler func(*Server, context.Context, *request) (*answer, error)

// ServeHTTP answers one request. The answer is complete before its first byte is sent, since it is
// signed.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	// The connection may still have the deadline of the answer before.
	http.NewResponseController(w).SetWriteDeadline(time.Time{}) //nolint:errcheck // as in writeWithin
	q := &request{id: agent.NewNonce(), http: r, target: target(r.RequestURI), v2: r.Header[agent.HeaderNonce] != nil}
	path, _, _ := strings.Cut(q.target, "?")
	q.route = s.router.match(path)
	a, err := s.serve(w, q)
	if err != nil {
		a = s.errorAnswer(r.Context(), q, err)
	}
	s.send(w, q, a)
	s.o.Logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", logged(r.Method)), slog.String("route", q.route.name),
		slog.String("interface", logged(q.route.iface)), slog.Int("status", a.status),
		slog.Float64("ms", float64(time.Since(began).Microseconds())/1000),
		slog.String("remote", r.RemoteAddr), slog.String("id", q.id))
}

// logged cuts what a stranger chose; slog quotes it.
func logged(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (s *Server) serve(w http.ResponseWriter, q *request) (a *answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.o.Logger.LogAttrs(q.http.Context(), slog.LevelError, "panic", slog.String("type", fmt.Sprintf("%T", p)),
				slog.String("stack", string(debug.Stack())), slog.String("id", q.id))
			a, err = nil, agent.Errorf(agent.CodeInternal, "internal error: the agent's log has it under %s", q.id)
		}
	}()
	if strings.Contains(q.http.RequestURI, "|") {
		return nil, agent.Errorf(agent.CodeBadRequest, "a raw | in the request target is not accepted: percent-encode it")
	}
	ctx, cancel := s.tie(q.http.Context())
	defer cancel()
	if q.route.open != nil && q.route.open(s) {
		s.tryAuthenticate(w, q)
	} else if err := s.authenticate(w, q); err != nil {
		return nil, err
	}
	if q.route.methods == nil {
		e := agent.Errorf(agent.CodeNotFound, "there is nothing at this path")
		e.Detail = "Not Found"
		return nil, e
	}
	h, ok := q.route.methods[q.http.Method]
	if !ok {
		e := agent.Errorf(agent.CodeMethod, "this path takes %s", q.route.allow)
		e.Detail = "Method Not Allowed"
		return nil, e
	}
	return h(s, ctx, q)
}

// tie returns a context that also ends when the server closes.
func (s *Server) tie(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(s.running, cancel)
	return ctx, func() { stop(); cancel() }
}

// send writes the answer, and signs it where the request was v2.
func (s *Server) send(w http.ResponseWriter, q *request, a *answer) {
	h := w.Header()
	maps.Copy(h, a.header)
	h.Set("Date", s.o.Now().UTC().Format(http.TimeFormat))
	if a.status == http.StatusMethodNotAllowed {
		h.Set("Allow", q.route.allow)
	}
	body := a.body
	if q.http.Method == http.MethodHead {
		body = nil
	}
	if a.status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	if q.body == nil && q.http.ContentLength != 0 {
		h.Set("Connection", "close") // a body that was not read is not read now either
	}
	if q.v2 && s.signs(q, a) {
		secret := q.signer
		if secret == "" {
			secret = s.o.Secret
		}
		h.Set(agent.HeaderResponseSignature, secret.SignAnswer(agent.Answer{
			Status: a.status, Nonce: q.http.Header.Get(agent.HeaderNonce),
			ETag: h.Get("ETag"), InterfaceDigest: h.Get(agent.HeaderInterfaceDigest), Body: body,
		}))
	}
	refused := a.status == http.StatusRequestEntityTooLarge
	if refused {
		// Without it the server would read the body before it lets the answer go.
		http.NewResponseController(w).EnableFullDuplex() //nolint:errcheck // HTTP/2 is full duplex
	}
	writeWithin(w, a.status, body)
	if refused {
		discard(w, q.http)
	}
}

// writeWithin writes an answer piece by piece, for each of which the client has sendTimeout: one that
// does not read keeps no connection for ever.
func writeWithin(w http.ResponseWriter, status int, body []byte) {
	control := http.NewResponseController(w)
	limit := func() { control.SetWriteDeadline(time.Now().Add(sendTimeout)) } //nolint:errcheck // the server's own writer has deadlines
	limit()
	w.WriteHeader(status)
	for piece := range slices.Chunk(body, sendStep) {
		limit()
		if _, err := w.Write(piece); err != nil {
			return // the client has gone
		}
	}
}

// signs reports whether the answer may be signed: a success only where the request itself was
// verified. Else whoever asks an open route with somebody's nonce would get a signed 200 that can
// be shown to the panel as the answer to another question.
func (s *Server) signs(q *request, a *answer) bool { return q.signer != "" || a.status >= 400 }

// exposed reports whether private and preshared keys may be in the answer.
func (s *Server) exposed(q *request) bool {
	switch s.o.ExposeSecrets {
	case ExposeAlways:
		return true
	case ExposeNever:
		return false
	}
	return q.http.TLS != nil || loopback(q.http)
}

var forwardingHeaders = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port",
	"X-Forwarded-Server", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
}

// loopback reports whether both ends of the connection are loopback and nobody forwarded it.
func loopback(r *http.Request) bool {
	for _, h := range forwardingHeaders {
		if r.Header[h] != nil {
			return false
		}
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return local != nil && loopbackAddr(local.String()) && loopbackAddr(r.RemoteAddr)
}

func loopbackAddr(s string) bool {
	a, err := netip.ParseAddrPort(s)
	return err == nil && a.Addr().Unmap().IsLoopback()
}
