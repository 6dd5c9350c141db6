package web

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder("image/png", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder(backupMedia, openapi3filter.FileBodyDecoder)
	goleak.VerifyTestMain(m)
}

// harness is a server on the fake. Every answer that do gets is held against the description that
// the same server serves.
type harness struct {
	t      *testing.T
	fake   *fake
	server *Server
	log    *syncBuffer
	doc    *openapi3.T

	mu    sync.Mutex
	clock time.Time
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newHarness(t *testing.T, with ...func(*Options)) *harness {
	t.Helper()
	h := &harness{t: t, fake: newFake(), log: &syncBuffer{}, clock: epoch}
	registry := prometheus.NewRegistry()
	o := Options{
		Panel:  h.fake,
		Logger: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:    h.now, Version: "v1.2.3", Registerer: registry, Gatherer: registry, Restorer: h.fake,
	}
	for _, f := range with {
		f(&o)
	}
	var err error
	h.server, err = New(o)
	require.NoError(t, err)
	h.doc, err = openapi3.NewLoader().LoadFromData(h.server.openAPI)
	require.NoError(t, err)
	closeAnswers(h.doc)
	return h
}

// closeAnswers makes the description complete for the test: what it does not name may not be there.
func closeAnswers(doc *openapi3.T) {
	for _, s := range doc.Components.Schemas {
		closeSchema(s.Value)
	}
}

func closeSchema(s *openapi3.Schema) {
	if s.Type.Is("object") && len(s.Properties) > 0 {
		s.WithoutAdditionalProperties()
	}
	for _, p := range s.Properties {
		closeSchema(p.Value)
	}
	if s.Items != nil {
		closeSchema(s.Items.Value)
	}
	if a := s.AdditionalProperties.Schema; a != nil {
		closeSchema(a.Value)
	}
}

func (h *harness) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clock
}

func (h *harness) advance(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = h.clock.Add(d)
}

// response is an answer; the envelope is empty where it is not JSON.
type response struct {
	*httptest.ResponseRecorder
	Status  bool            `json:"status"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

func (h *harness) get(path string) response { return h.do(http.MethodGet, path, adminToken, "") }

func (h *harness) do(method, path, token, body string) response {
	h.t.Helper()
	req := httptest.NewRequest(method, "https://panel.example.org"+path, strings.NewReader(body)) // over TLS
	if strings.HasPrefix(body, "--"+boundary) {
		req.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return h.send(req)
}

func (h *harness) send(req *http.Request) response {
	h.t.Helper()
	r := response{ResponseRecorder: httptest.NewRecorder()}
	h.server.Handler().ServeHTTP(r.ResponseRecorder, req)
	if r.Header().Get("Content-Type") == "application/json" && req.URL.Path != "/api/openapi.json" {
		dec := json.NewDecoder(bytes.NewReader(r.Body.Bytes()))
		dec.DisallowUnknownFields()
		require.NoError(h.t, dec.Decode(&r), r.Body)
		require.Equal(h.t, r.Code == http.StatusOK, r.Status)
		require.NotEmpty(h.t, r.Message)
		require.NotNil(h.t, r.Data, "data is always there")
	}
	require.NotEmpty(h.t, r.Header().Get(requestIDHeader))
	h.validate(req, r)
	return r
}

// validate holds an answer against the description; what no route serves has none.
func (h *harness) validate(req *http.Request, r response) {
	h.t.Helper()
	row, ok := h.route(req)
	if !ok {
		require.Contains(h.t, []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusTooManyRequests}, r.Code)
		return
	}
	item := h.doc.Paths.Value(row.path)
	require.NotNil(h.t, item, "%s is not described", row.path)
	operation := item.GetOperation(row.method)
	require.NotNil(h.t, operation, "%s %s is not described", row.method, row.path)
	err := openapi3filter.ValidateResponse(h.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req,
			Route:   &routers.Route{Spec: h.doc, Path: row.path, PathItem: item, Method: row.method, Operation: operation},
		},
		Status: r.Code, Header: r.Header(), Body: io.NopCloser(bytes.NewReader(r.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	require.NoError(h.t, err, "%s %s answered %d %s", req.Method, req.URL, r.Code, r.Body)
}

// route finds the row of a request without gin: fixed segments win.
func (h *harness) route(req *http.Request) (route, bool) {
	rows := slices.SortedFunc(slices.Values(h.server.routes), func(a, b route) int {
		return strings.Count(a.path, "{") - strings.Count(b.path, "{")
	})
	for _, r := range rows {
		pattern := "^" + pathParam.ReplaceAllString(r.path, "[^/]+") + "$"
		if r.method == req.Method && regexp.MustCompile(pattern).MatchString(req.URL.Path) {
			return r, true
		}
	}
	return route{}, false
}

// fill puts ids that exist into the path of a route.
func fill(r route) string {
	id := "n1"
	for prefix, other := range map[string]string{
		"/api/keys": "k1", "/api/groups": "g1", "/api/templates": "t1", "/api/drift/rules": "r1", "/api/drift/rollouts": "o1",
		"/api/notifications": "c1",
	} {
		if strings.HasPrefix(r.path, prefix) {
			id = other
		}
	}
	return strings.NewReplacer("{id}", id, "{peer_id}", "p1", "{revision}", "3").Replace(r.path)
}

// sample is a body that a route accepts.
func sample(r route) string {
	switch r.body {
	case reflect.TypeFor[toggleBody]():
		return `{"enabled":true}`
	case reflect.TypeFor[backupBody]():
		return `{"passphrase":"` + fakePassphrase + `"}`
	case reflect.TypeFor[restoreForm]():
		return form("passphrase", fakePassphrase, "backup", fakeBackup)
	case reflect.TypeFor[keyBody]():
		return `{"name":"ci","role":"viewer"}`
	case reflect.TypeFor[none]():
		return ""
	}
	return `{}`
}
