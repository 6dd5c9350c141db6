package server

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
)

func FuzzRoute(f *testing.F) {
	for _, s := range []string{
		"/v1/wg/wg0/dump", "/wg/wg0/peers/a/b+c=", "/health/", "//health", "/v1/wg/%2e%2e/dump", "/v1/wg/a%2Fb/config", "/%76%31/health", "", "/", "x", "/v1/wg/wg0/peers//",
		"/v1/wg/wg0%", "/v1/metrics?x",
	} {
		f.Add(s)
	}
	router := newRouter()
	f.Fuzz(func(t *testing.T, path string) {
		r := router.match(path)
		if r.methods == nil {
			require.Nil(t, r.open, "what is no route is not open")
			return
		}
		require.NotContains(t, r.iface, "/")
		again := router.match(strings.TrimSuffix(path, "/") + "/")
		if r.key == "" {
			require.Equal(t, r.name, again.name, "one slash at the end means nothing")
		}
		if r.open != nil {
			decoded, err := url.PathUnescape(strings.TrimSuffix(path, "/"))
			require.NoError(t, err)
			require.Contains(t, []string{"/health", "/v1/health", "/v1/metrics"}, decoded)
		}
	})
}

func FuzzPathKey(f *testing.F) {
	for _, s := range []string{key(1), url.PathEscape(key(2)), "_-8", strings.Repeat("A", 43), strings.Repeat("A", 44), "%zz", "%2B%2F", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := pathKey(s)
		if err != nil {
			return
		}
		again, err := pathKey(url.PathEscape(k.String()))
		require.NoError(t, err)
		require.Equal(t, k, again)
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a?b#c", "http://x/y", "http://x", "http://x?y", "*", "", "x:443"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		require.NotContains(t, target(s), "#")
	})
}

func FuzzStamp(f *testing.F) {
	for _, s := range []string{"1700000000", "+1_7", " 1 ", "-0", "1e9", "_", "999999999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseStamp(s)
		if !ok {
			require.Zero(t, n)
			return
		}
		require.Equal(t, "", strings.Trim(s, " \t\n\r\v\f+-_0123456789"))
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"public_key":"x","allowed_ips":["10.0.0.1/32"],"persistent_keepalive":25.0}`, `{"peers":[{"public_key":5}]}`, `{"changes":[{"op":"put"}],"dry_run":1}`,
		"\ufeff{}", `[1]`, `null`, `"x"`, `{"config":"eA=="}`, `{"listen_port":""}`, `{"persistent_keepalive":1e400}`, `{"a":{"preshared_key":"x"}}`, `{"persistent_keepalive":-9223372036854775809}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q := &request{http: &http.Request{Header: http.Header{}}, body: body}
		for _, decode := range []func() error{
			func() error {
				o, err := decodeBody(q)
				if err != nil {
					return err
				}
				decodeKey(o)
				decodeWish(o, false)
				return o.err()
			},
			func() error { _, err := decodeOrder(q); return err },
			func() error { _, _, err := decodeConfig(q); return err },
		} {
			err := decode()
			if err == nil {
				continue
			}
			e := toError(err)
			require.Contains(t, []agent.Code{agent.CodeMalformed, agent.CodeInvalidField}, e.Code)
			_, err = jsonAnswer(e.Code.Status(), e)
			require.NoError(t, err)
		}
	})
}

func FuzzJournal(f *testing.F) {
	var log []byte
	for i := range 3 {
		payload, err := putRecord(i, i).encode()
		require.NoError(f, err)
		log = append(log, frame(payload)...)
	}
	f.Add(log)
	f.Add(log[:40])
	f.Add([]byte{255, 255, 255, 255, 0, 0, 0, 0})
	f.Add(frame([]byte(`{"reset":true,"pending":["x"]}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newLastState()
		good, err := replay(s, data)
		require.LessOrEqual(t, good, int64(len(data)))
		if err != nil {
			return
		}
		again := newLastState()
		same, err := replay(again, data[:good])
		require.NoError(t, err)
		require.Equal(t, good, same)
		require.Equal(t, len(s.peers), len(again.peers))
	})
}
