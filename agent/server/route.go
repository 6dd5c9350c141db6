package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is what a request's path names.
type route struct {
	name    string // template, for logs
	methods map[string]handler
	allow   string // the methods, for Allow
	open    func(*Server) bool
	iface   string
	key     string // the rest of the escaped path, for peers
}

// routeSpec is one route of the API.
type routeSpec struct {
	segments string // after /v1, separated by spaces; "{if}" is the interface, "{key}" the rest
	old      bool   // also without /v1, as the example agent had it
	open     func(*Server) bool
	methods  map[string]handler
}

func always(*Server) bool { return true }

func openMetrics(s *Server) bool {
	return s.o.Metrics == MetricsOpen || s.o.Metrics == MetricsFull
}

func routeSpecs() []routeSpec {
	return []routeSpec{
		{segments: "health", old: true, open: always, methods: map[string]handler{http.MethodGet: (*Server).health}},
		{segments: "status", methods: map[string]handler{http.MethodGet: (*Server).status}},
		{segments: "metrics", open: openMetrics, methods: map[string]handler{http.MethodGet: (*Server).metrics}},
		{segments: "wg", methods: map[string]handler{http.MethodGet: (*Server).list}},
		{segments: "wg {if}", methods: map[string]handler{http.MethodDelete: (*Server).deleteInterface}},
		{segments: "wg {if} dump", old: true, methods: map[string]handler{http.MethodGet: (*Server).dump}},
		{segments: "wg {if} peers", old: true, methods: map[string]handler{http.MethodPost: (*Server).addPeer}},
		{segments: "wg {if} peers {key}", old: true, methods: map[string]handler{
			http.MethodPut: (*Server).updatePeer, http.MethodDelete: (*Server).removePeer,
		}},
		{segments: "wg {if} syncconf", methods: map[string]handler{http.MethodPost: (*Server).syncConf}},
		{segments: "wg {if} apply", methods: map[string]handler{http.MethodPost: (*Server).apply}},
		{segments: "wg {if} config", methods: map[string]handler{
			http.MethodGet: (*Server).getConfig, http.MethodPut: (*Server).putConfig,
		}},
		{segments: "wg {if} file", methods: map[string]handler{http.MethodGet: (*Server).fileDrift}},
		{segments: "wg {if} flows", methods: map[string]handler{http.MethodGet: (*Server).flows}},
		{segments: "wg {if} access", methods: map[string]handler{
			http.MethodGet: (*Server).getAccess, http.MethodPut: (*Server).putAccess,
		}},
		{segments: "wg {if} enable", methods: map[string]handler{http.MethodPost: (*Server).enable}},
		{segments: "wg {if} disable", methods: map[string]handler{http.MethodPost: (*Server).disable}},
	}
}

// router matches the segments of an escaped path as they are: nothing is cleaned, nothing redirects.
type router struct {
	specs []compiledRoute
}

type compiledRoute struct {
	segments []string
	old      bool
	route    route
}

func newRouter() *router {
	r := &router{}
	for _, s := range routeSpecs() {
		methods := make([]string, 0, len(s.methods))
		for m := range s.methods {
			methods = append(methods, m)
		}
		slices.Sort(methods)
		segments := strings.Fields(s.segments)
		r.specs = append(r.specs, compiledRoute{segments: segments, old: s.old, route: route{
			name: "/v1/" + strings.Join(segments, "/"), methods: s.methods, allow: strings.Join(methods, ", "), open: s.open,
		}})
	}
	return r
}

// match returns the route of an escaped path, or one without methods where there is none. One
// trailing slash means nothing.
func (r *router) match(escaped string) route {
	none := route{name: "none"}
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return none
	}
	segments := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	old := true
	if decodeSegment(segments[0]) == "v1" {
		segments, old = segments[1:], false
	}
	for _, s := range r.specs {
		if old && !s.old {
			continue
		}
		if found, ok := s.match(segments); ok {
			return found
		}
	}
	return none
}

func (c compiledRoute) match(segments []string) (route, bool) {
	found := c.route
	for i, want := range c.segments {
		if i >= len(segments) {
			return found, false
		}
		switch want {
		case "{if}":
			found.iface = decodeSegment(segments[i])
			if found.iface == "" || strings.Contains(found.iface, "/") {
				return found, false
			}
		case "{key}":
			found.key = strings.Join(segments[i:], "/")
			return found, found.key != ""
		default:
			if decodeSegment(segments[i]) != want {
				return found, false
			}
		}
	}
	return found, len(segments) == len(c.segments)
}

// decodeSegment decodes percent signs; what can't be decoded stays as it is and names nothing.
func decodeSegment(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	decoded, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return decoded
}

// target returns path and query of a request target as on the wire: without the scheme and host of
// the absolute form and without a fragment.
func target(requestURI string) string {
	t, _, _ := strings.Cut(requestURI, "#")
	if strings.HasPrefix(t, "/") {
		return t
	}
	_, rest, ok := strings.Cut(t, "://")
	if !ok {
		return t
	}
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}
