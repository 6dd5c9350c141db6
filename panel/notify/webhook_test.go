package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The vector that the libraries of Standard Webhooks share.
func TestSignatureIsTheStandards(t *testing.T) {
	key, err := Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").key()
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), `{"test": 2432232314}`))
}

// verify is a receiver's check, written from the specification alone.
func verify(r *http.Request, body []byte, secret string, now time.Time) error {
	id, stamp := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("a bad timestamp")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.Replace(secret, "whsec_", "", 1))
	if err != nil {
		return err
	}
	h := hmac.New(sha256.New, raw)
	h.Write([]byte(id + "." + stamp + "."))
	h.Write(body)
	for part := range strings.FieldsSeq(r.Header.Get("webhook-signature")) {
		version, value, _ := strings.Cut(part, ",")
		got, err := base64.StdEncoding.DecodeString(value)
		if err == nil && version == "v1" && id != "" && hmac.Equal(got, h.Sum(nil)) {
			return nil
		}
	}
	return errors.New("a bad signature")
}

// received is what a test's receiver was sent.
type received struct {
	id, contentType string
	body            string
	err             error
}

// receiver answers as told, and hands on what it is sent.
func receiver(t *testing.T, secret string, answer http.HandlerFunc) (url string, got chan received) {
	t.Helper()
	got = make(chan received, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && secret != "" {
			err = verify(r, body, secret, time.Now())
		}
		got <- received{id: r.Header.Get("Webhook-Id"), contentType: r.Header.Get("Content-Type"), body: string(body), err: err}
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/" + urlToken + "?key=" + urlToken, got
}

func TestWebhookIsSigned(t *testing.T) {
	w := newWorld(t, nil)
	for name, given := range map[string]*Secret{"made": nil, "given": new(Secret(hookSecret))} {
		c, made, err := w.Create(t.Context(), Input{Name: &name, Kind: new(Webhook), URL: new(Secret("http://203.0.113.7")), Secret: given})
		require.NoError(t, err)
		require.Equal(t, given == nil, made != "")
		url, got := receiver(t, string(c.Secret), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		c, _, err = w.Update(t.Context(), c.ID, Input{URL: new(Secret(url))})
		require.NoError(t, err)
		d, err := w.Test(t.Context(), c.ID)
		require.NoError(t, err)
		require.Equal(t, []any{Delivered, true, 204, 1, ""}, []any{d.Status, d.Test, d.Code, d.Attempts, d.Error})
		r := <-got
		require.NoError(t, r.err)
		require.Equal(t, d.ID, r.id)
		require.Equal(t, "application/json", r.contentType)
		require.Contains(t, r.body, `"type":"wgfleet.test"`)
		require.NotContains(t, r.body, urlToken)
	}
	c, made, err := w.Update(t.Context(), w.list()[0].ID, Input{Secret: new(Secret(""))})
	require.NoError(t, err)
	require.Equal(t, c.Secret, made, "an empty text has one made")
}

func (w *world) list() []Channel {
	list, err := w.allChannels(w.t.Context())
	require.NoError(w.t, err)
	return list
}

// What receivers answer, and what is kept of it: nothing that repeats a token.
func TestAnswers(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("no " + r.URL.String())) }
	for name, tt := range map[string]struct {
		kind   Kind
		answer http.HandlerFunc
		want   outcome
		err    string
	}{
		"good":      {Webhook, echo, outcome{done: true, code: 200}, ""},
		"created":   {Webhook, status(201), outcome{done: true, code: 201}, ""},
		"broken":    {Webhook, status(500), outcome{code: 500}, "the receiver answered 500 Internal Server Error"},
		"not found": {Slack, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound); echo(w, r) }, outcome{code: 404}, "the receiver answered 404 Not Found"},
		"slack": {Slack, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte("invalid_token"))
		}, outcome{code: 403, reply: "invalid_token"}, "the receiver answered 403 Forbidden"},
		"slack, the token": {Slack, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte("lowertoken"))
		}, outcome{code: 403}, "the receiver answered 403 Forbidden"},
		"gone": {Webhook, status(410), outcome{code: 410, gone: true}, "the receiver is gone for good (410)"},
		"redirect": {Webhook, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere?"+urlToken, http.StatusTemporaryRedirect)
		}, outcome{code: 307}, "the receiver answered 307, a redirect, which is not followed: give the URL that it leads to"},
		"later": {Webhook, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(http.StatusTooManyRequests)
		}, outcome{code: 429, after: 2 * time.Minute}, "the receiver answered 429 Too Many Requests"},
		"later than ever": {Webhook, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "99999999")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, outcome{code: 503, after: 24 * time.Hour}, "the receiver answered 503 Service Unavailable"},
		"a long answer": {Webhook, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			for range 1 << 10 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		}, outcome{done: true, code: 200}, ""},
		"not HTTP": {Webhook, func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Write([]byte("echo " + r.URL.String() + "\r\n\r\n"))
			conn.Close()
		}, outcome{}, "malformed HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			url, got := receiver(t, "", tt.answer)
			c := w.create(Input{Kind: &tt.kind, URL: new(Secret(url + "&also=lowertoken"))})
			o := w.Notifier.deliver(t.Context(), c, due{id: "id", at: time.Now(), payload: payload{Body: "{}"}})
			err := o.err
			o.err = nil
			require.Equal(t, tt.want, o)
			require.Len(t, got, 1, "no redirect is followed")
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
			require.NotContains(t, err.Error(), urlToken)
		})
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// A proxy of the environment is not asked: it would connect where the guard does not see.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	w := newWorld(t, func(o *Options) { o.Allow = Allow{} })
	require.Nil(t, w.transport.(*http.Transport).Proxy)
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "7": 7 * time.Second, "Thu, 26 Nov 2026 12:01:00 GMT": time.Minute, "Thu, 26 Nov 2026 11:00:00 GMT": 0,
		"Thu, 26 Nov 2099 11:00:00 GMT": maxRetryAfter,
	} {
		require.Equal(t, want, retryAfter(text, began), text)
	}
}

func TestCertificatesAreChecked(t *testing.T) {
	w := newWorld(t, nil)
	s := httptest.NewUnstartedServer(status(200))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	c := w.create(Input{URL: new(Secret(s.URL + "/" + urlToken))})
	d, err := w.Test(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, Failed, d.Status, "whose certificate nobody knows is told nothing")
	require.Contains(t, d.Error, "certificate")
	w.again(func(o *Options) { o.Roots = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs })
	d, err = w.Test(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, Delivered, d.Status, d.Error)
}
