package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel"
)

const boundary = "boundary-of-the-tests"

// form is a multipart body of names and values.
func form(parts ...string) string {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", boundary, parts[i], parts[i+1])
	}
	return b.String() + "--" + boundary + "--\r\n"
}

func TestBackupIsAFile(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodPost, "/api/backup", adminToken, `{"passphrase":"`+fakePassphrase+`"}`)
	require.Equal(t, http.StatusOK, r.Code, r.Body)
	require.Equal(t, fakeBackup, r.Body.String())
	require.Equal(t, "application/octet-stream", r.Header().Get("Content-Type"))
	require.Equal(t, `attachment; filename="wgfleet-20240115T103000Z.backup"`, r.Header().Get("Content-Disposition"))
	for body, want := range map[string]string{
		`{}`:                     "passphrase: is needed",
		`{"passphrase":null}`:    "passphrase: is needed",
		`{"passphrase":""}`:      "passphrase: no passphrase was given: a backup is never written without one",
		`{"passphrase":"short"}`: "passphrase: the passphrase is too short: 12 characters or more, for example six words drawn at random",
	} {
		r := h.do(http.MethodPost, "/api/backup", adminToken, body)
		require.Equal(t, http.StatusUnprocessableEntity, r.Code, body)
		require.Equal(t, want, r.Message)
	}
	require.NotContains(t, h.log.String(), fakePassphrase)
}

// Nobody takes for whole what was cut off, and the log has why.
func TestBackupThatFailsCutsTheConnection(t *testing.T) {
	h := newHarness(t)
	h.fake.cutOff = errors.New("the disk is on fire")
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		h.do(http.MethodPost, "/api/backup", adminToken, `{"passphrase":"`+fakePassphrase+`"}`)
	})
	require.Contains(t, h.log.String(), "the disk is on fire")
	h.fake.cutOff, h.fake.err = nil, errors.New("broken before")
	require.Equal(t, http.StatusInternalServerError, h.do(http.MethodPost, "/api/backup", adminToken, `{"passphrase":"`+fakePassphrase+`"}`).Code)
	h.fake.err = nil

	server := httptest.NewServer(h.server.Handler())
	defer server.Close()
	h.fake.cutOff = errors.New("the disk is on fire")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/backup", strings.NewReader(`{"passphrase":"`+fakePassphrase+`"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := server.Client().Do(req)
	if err == nil {
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	require.Error(t, err)
}

func TestRestoreReadsAForm(t *testing.T) {
	h := newHarness(t)
	r := h.do(http.MethodPost, "/api/restore", adminToken, form("passphrase", fakePassphrase, "backup", fakeBackup))
	require.Equal(t, http.StatusOK, r.Code, r.Body)
	require.Equal(t, "Restored 3 records; read back, they are those of the backup", r.Message)
	require.Equal(t, fakeBackup, h.fake.restored)
	golden(t, "restored.json", r.Data)

	for _, end := range []string{"\n", "\r\n"} {
		h.fake.restored = ""
		r = h.do(http.MethodPost, "/api/restore", adminToken, form("passphrase", fakePassphrase+end, "backup", fakeBackup))
		require.Equal(t, http.StatusOK, r.Code, r.Body)
		require.Equal(t, fakeBackup, h.fake.restored, "the passphrase came out of a file of one line")
	}

	h.fake.restored = ""
	h.server.limits, _ = newLimits(RateLimit{Off: true}, h.now)
	whole := form("passphrase", fakePassphrase, "backup", fakeBackup)
	for _, tt := range []struct {
		name, body string
		want       int
		message    string
	}{
		{"wrong passphrase", form("passphrase", "another", "backup", fakeBackup), 422, "passphrase: does not open this backup"},
		{"two lines", form("passphrase", fakePassphrase+"\n\n", "backup", fakeBackup), 422, "passphrase: does not open this backup"},
		{"a line of nothing", form("passphrase", "\n", "backup", fakeBackup), 422, "passphrase: is needed"},
		{"no passphrase", form("passphrase", "", "backup", fakeBackup), 422, "passphrase: is needed"},
		{"endless passphrase", form("passphrase", strings.Repeat("x", 5000), "backup", fakeBackup), 422, "passphrase: is longer than 4096 bytes"},
		{"the other way round", form("backup", fakeBackup, "passphrase", fakePassphrase), 400, errForm.message},
		{"no file", form("passphrase", fakePassphrase), 400, errForm.message},
		{"something else", form("passphrase", fakePassphrase, "file", fakeBackup), 400, errForm.message},
		{"cut off", whole[:len(whole)-40], 400, errUpload.message},
		{"JSON", `{"passphrase":"x"}`, 400, errForm.message},
		{"nothing", "", 400, errForm.message},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.server.limits, _ = newLimits(RateLimit{Off: true}, h.now)
			r := h.do(http.MethodPost, "/api/restore", adminToken, tt.body)
			require.Equal(t, tt.want, r.Code, r.Body)
			require.Equal(t, tt.message, r.Message)
			require.Empty(t, h.fake.restored)
		})
	}
	h.fake.notEmpty = fmt.Errorf("%w: it has 3 nodes", panel.ErrNotEmpty)
	r = h.do(http.MethodPost, "/api/restore", adminToken, "not even a form")
	require.Equal(t, http.StatusConflict, r.Code)
	require.JSONEq(t, `{"code":"not_empty"}`, string(r.Data))
	require.Contains(t, r.Message, "3 nodes")
	require.NotContains(t, h.log.String(), fakePassphrase)
}

func TestRestoreRefusesTooMuch(t *testing.T) {
	h := newHarness(t)
	req := httptest.NewRequest(http.MethodPost, "https://panel.example.org/api/restore", strings.NewReader(form("passphrase", fakePassphrase)))
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
	req.ContentLength = maxBackup + 1
	require.Equal(t, http.StatusRequestEntityTooLarge, h.send(req).Code)
	require.ErrorIs(t, (&upload{failed: &http.MaxBytesError{}}).because(io.ErrUnexpectedEOF), errBackupSize, "it was not announced")
}

func TestServerWithoutRestorer(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Restorer = nil })
	require.Equal(t, http.StatusNotFound, h.do(http.MethodPost, "/api/restore", adminToken, "").Code)
}

// A passphrase is taken only where nobody else could read it.
func TestPassphraseNeedsAPrivateWay(t *testing.T) {
	h := newHarness(t, unlimited, func(o *Options) { o.TrustedProxies = []string{"127.0.0.2", "192.0.2.0/24"} })
	for _, tt := range []struct {
		name, url, remote, local string
		header                   http.Header
		want                     int
	}{
		{"TLS", "https://panel/api/backup", "192.0.2.1:1", "192.0.2.9", nil, 200},
		{"plain", "http://panel/api/backup", "192.0.2.1:1", "192.0.2.9", nil, 403},
		{"loopback", "http://panel/api/backup", "127.0.0.1:1", "127.0.0.1", nil, 200},
		{"loopback, IPv6", "http://panel/api/backup", "[::1]:1", "::1", nil, 200},
		{"from loopback to elsewhere", "http://panel/api/backup", "127.0.0.1:1", "192.0.2.9", nil, 403},
		{"a proxy on this host", "http://panel/api/backup", "127.0.0.1:1", "127.0.0.1", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, 403},
		{"one that nobody trusts", "http://panel/api/backup", "127.0.0.1:1", "127.0.0.1", http.Header{"X-Forwarded-Proto": {"https"}}, 403},
		{"one that is trusted", "http://panel/api/backup", "127.0.0.2:1", "127.0.0.1", http.Header{"X-Forwarded-Proto": {"https"}}, 200},
		{"one that is trusted, without TLS", "http://panel/api/backup", "127.0.0.2:1", "127.0.0.1", http.Header{"X-Forwarded-Proto": {"http"}}, 403},
		{"one that is trusted, elsewhere", "http://panel/api/backup", "192.0.2.7:1", "192.0.2.9", http.Header{"X-Forwarded-Proto": {"https"}}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.t = t
			for _, path := range []string{"/api/backup", "/api/restore"} {
				body := `{"passphrase":"` + fakePassphrase + `"}`
				if path == "/api/restore" {
					body = form("passphrase", fakePassphrase, "backup", fakeBackup)
				}
				req := httptest.NewRequest(http.MethodPost, strings.Replace(tt.url, "/api/backup", path, 1), strings.NewReader(body))
				req.RemoteAddr = tt.remote
				req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(tt.local), Port: 1}))
				maps.Copy(req.Header, tt.header)
				req.Header.Set("Authorization", "Bearer "+adminToken)
				req.Header.Set("Content-Type", "multipart/form-data; boundary="+boundary)
				require.Equal(t, tt.want, h.send(req).Code)
			}
		})
	}
}

func TestBackupsAreFew(t *testing.T) {
	h := newHarness(t)
	for range backupsBurst {
		require.Equal(t, http.StatusOK, h.do(http.MethodPost, "/api/backup", adminToken, `{"passphrase":"`+fakePassphrase+`"}`).Code)
	}
	r := h.do(http.MethodPost, "/api/restore", adminToken, form("passphrase", "guess", "backup", fakeBackup))
	require.Equal(t, http.StatusTooManyRequests, r.Code)
	require.Equal(t, "6", r.Header().Get("Retry-After"))
	require.Equal(t, http.StatusOK, h.get("/api/nodes").Code, "the other calls are not counted with them")
	h.advance(6 * time.Second)
	require.Equal(t, http.StatusOK, h.do(http.MethodPost, "/api/backup", adminToken, `{"passphrase":"`+fakePassphrase+`"}`).Code)

	h = newHarness(t)
	h.fake.restoring = func() {
		r := h.do(http.MethodPost, "/api/backup", adminToken, `{"passphrase":"`+fakePassphrase+`"}`)
		require.Equal(t, http.StatusTooManyRequests, r.Code, "one at a time")
	}
	require.Equal(t, http.StatusOK, h.do(http.MethodPost, "/api/restore", adminToken, form("passphrase", fakePassphrase, "backup", fakeBackup)).Code)
}
