package web

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel"
)

func unlimited(o *Options) { o.RateLimit = RateLimit{Off: true} }

// Every route with every kind of caller, from the table itself.
func TestAccessMatrix(t *testing.T) {
	h := newHarness(t, unlimited)
	require.Len(t, h.server.routes, 76)
	for _, r := range h.server.routes {
		for _, caller := range []struct {
			name, token  string
			open, viewer int
			admin        int
		}{
			{"no key", "", 200, 401, 401},
			{"wrong key", "nonsense", 200, 401, 401},
			{"unknown role", strangeToken, 200, 403, 403},
			{"viewer", viewerToken, 200, 200, 403},
			{"admin", adminToken, 200, 200, 200},
		} {
			t.Run(r.method+" "+r.path+"/"+caller.name, func(t *testing.T) {
				h.t = t
				before := h.fake.changed
				want := map[role]int{roleOpen: caller.open, roleViewer: caller.viewer, roleAdmin: caller.admin}[r.role]
				got := h.do(r.method, fill(r), caller.token, sample(r))
				require.Equal(t, want, got.Code, got.Body)
				if want != http.StatusOK {
					require.Equal(t, before, h.fake.changed, "refused, yet something changed")
					require.Equal(t, want == http.StatusUnauthorized, got.Header().Get("WWW-Authenticate") != "")
				}
			})
		}
	}
}

// What a viewer may call neither changes anything nor shows a key; only three routes are open.
func TestRolesOfTheTable(t *testing.T) {
	h := newHarness(t, unlimited)
	var open []string
	for _, r := range h.server.routes {
		if r.role == roleOpen {
			open = append(open, r.path)
		}
		if r.role != roleAdmin {
			require.Equal(t, http.MethodGet, r.method, r.path)
		}
	}
	require.Equal(t, []string{"/api/health", "/api/openapi.json", "/api/docs"}, open)
	for _, path := range []string{"/api/nodes/n1/peers/p1/config", "/api/nodes/n1/peers/p1/qr"} {
		require.Equal(t, http.StatusForbidden, h.do(http.MethodGet, path, viewerToken, "").Code)
	}
}

func TestRouteWithoutRole(t *testing.T) {
	s := newHarness(t).server
	for _, r := range []role{"", "everybody"} {
		s.routes = []route{{method: http.MethodGet, path: "/x", role: r, action: op(s.health)}}
		_, err := s.newEngine(nil)
		require.ErrorContains(t, err, "GET /x has no role")
	}
	require.False(t, allows(panel.RoleAdmin, ""))
}

func TestKeyHeaders(t *testing.T) {
	h := newHarness(t)
	for _, tt := range []struct {
		name                    string
		authorization, original string
		want                    int
	}{
		{"bearer", "Bearer " + adminToken, "", 200},
		{"any case", "bearer " + adminToken, "", 200},
		{"the original's", "", adminToken, 200},
		{"a proxy's own scheme beside the original's", "Basic Zm9vOmJhcg==", adminToken, 200},
		{"bearer wins", "Bearer nonsense", adminToken, 401},
		{"no scheme", adminToken, "", 401},
		{"empty", "Bearer ", "", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "/api/nodes", nil)
			req.Header.Set("Authorization", tt.authorization)
			req.Header.Set(originalKeyHeader, tt.original)
			require.Equal(t, tt.want, h.send(req).Code)
		})
	}
	require.Equal(t, http.StatusUnauthorized, h.do(http.MethodGet, "/api/nodes?key="+adminToken, "", "").Code)
	require.Equal(t, http.StatusInternalServerError, h.do(http.MethodGet, "/api/nodes", "broken", "").Code, "a door that can't look is closed")
}

func small(o *Options) {
	o.RateLimit = RateLimit{PerSecond: 2, Burst: 3, FailedPerSecond: 1, FailedBurst: 2}
}

func from(addr, token string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "/api/nodes", nil)
	req.RemoteAddr = addr
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

func TestRateLimitOfAKey(t *testing.T) {
	h := newHarness(t, small)
	for range 3 {
		require.Equal(t, http.StatusOK, h.send(from("192.0.2.1:1", adminToken)).Code)
	}
	r := h.send(from("192.0.2.1:2", adminToken))
	require.Equal(t, http.StatusTooManyRequests, r.Code)
	require.Equal(t, "1", r.Header().Get("Retry-After"))
	require.Equal(t, http.StatusOK, h.send(from("192.0.2.1:1", viewerToken)).Code, "another key")
	require.Equal(t, http.StatusOK, h.send(from("192.0.2.2:1", adminToken)).Code, "another address")
	h.advance(500 * time.Millisecond)
	require.Equal(t, http.StatusOK, h.send(from("192.0.2.1:1", adminToken)).Code, "half a second later")
}

func TestRateLimitOfWrongKeys(t *testing.T) {
	h := newHarness(t, small)
	for _, token := range []string{"nonsense", ""} {
		require.Equal(t, http.StatusUnauthorized, h.send(from("[2001:db8::1]:1", token)).Code)
	}
	require.Equal(t, http.StatusTooManyRequests, h.send(from("[2001:db8::2]:1", "nonsense")).Code, "the same /64")
	require.Equal(t, http.StatusOK, h.send(from("[2001:db8::2]:1", adminToken)).Code, "a neighbour's good key is not locked out")
	require.Equal(t, http.StatusUnauthorized, h.send(from("192.0.2.1:1", "nonsense")).Code, "another address")
	h.advance(time.Second)
	require.Equal(t, http.StatusUnauthorized, h.send(from("[2001:db8::2]:1", "nonsense")).Code)
}

func TestRetryAfterIsLongEnough(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.RateLimit = RateLimit{PerSecond: .1, Burst: 1, FailedPerSecond: 1, FailedBurst: 1} })
	require.Equal(t, http.StatusOK, h.get("/api/nodes").Code)
	h.advance(1500 * time.Millisecond)
	r := h.get("/api/nodes")
	require.Equal(t, "9", r.Header().Get("Retry-After"))
	require.Equal(t, "Too many requests: try again in 9 s.", r.Message)
	h.advance(9 * time.Second)
	require.Equal(t, http.StatusOK, h.get("/api/nodes").Code)
}

func TestRateLimitWithoutKey(t *testing.T) {
	h := newHarness(t, small)
	for i := range 4 {
		want := http.StatusOK
		if i == 3 {
			want = http.StatusTooManyRequests
		}
		require.Equal(t, want, h.do(http.MethodGet, "/api/health", "", "").Code)
	}
	require.Equal(t, http.StatusTooManyRequests, h.do(http.MethodGet, "/nowhere", "", "").Code)
}

func TestRateLimitIsBounded(t *testing.T) {
	l, err := newLimits(DefaultRateLimit, func() time.Time { return epoch })
	require.NoError(t, err)
	first := l.keys.get("0")
	for i := range maxBuckets + 10 {
		l.keys.get(strconv.Itoa(i + 1))
	}
	require.Len(t, l.keys.of, maxBuckets)
	require.Equal(t, maxBuckets, l.keys.used.Len())
	require.NotSame(t, first, l.keys.get("0"), "the one used longest ago went")
}

// Only a proxy that was named may say who the client is.
func TestClientAddress(t *testing.T) {
	for _, tt := range []struct {
		name    string
		proxies []string
		want    string
	}{
		{"nobody is believed", nil, "192.0.2.7"},
		{"a named proxy is", []string{"192.0.2.0/24"}, "198.51.100.9"},
		{"another is not", []string{"203.0.113.1"}, "192.0.2.7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, func(o *Options) { o.TrustedProxies = tt.proxies })
			req := from("192.0.2.7:1", adminToken)
			req.Header.Set("X-Forwarded-For", "10.9.9.9, 198.51.100.9")
			req.Header.Set("X-Real-IP", "10.8.8.8")
			h.send(req)
			require.Contains(t, h.log.String(), "client="+tt.want+" ")
		})
	}
	_, err := New(Options{Panel: newFake(), TrustedProxies: []string{"proxy"}})
	require.ErrorContains(t, err, "trusted proxies")
}

// gin serves what the table says and nothing else.
func TestServedIsTheTable(t *testing.T) {
	h := newHarness(t)
	var want, got []string
	for _, r := range h.server.routes {
		want = append(want, r.method+" "+ginPath(r.path))
	}
	for _, r := range h.server.Handler().(*gin.Engine).Routes() {
		got = append(got, r.Method+" "+r.Path)
	}
	slices.Sort(want)
	slices.Sort(got)
	require.Equal(t, want, got)
}
