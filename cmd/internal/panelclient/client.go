package panelclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// DefaultURL is where a panel listens that was told nothing else.
const DefaultURL = "http://127.0.0.1:10086"

const (
	maxAnswer   = 256 << 20 // bytes; a fleet's whole peer list
	answerAfter = 5 * time.Minute
	pageSize    = 500
)

// Options of a Client.
type Options struct {
	URL    string // of the panel
	Key    string // API key
	CAFile string // certificates to believe beside the system's; "" for none
}

// Client asks one panel with one key.
type Client struct {
	base *url.URL
	key  string
	http *http.Client
}

// ParseURL checks the URL of a panel.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the URL of a panel: expected something like %s", s, DefaultURL)
	}
	return u, nil
}

// IsLoopback reports whether u names this host.
func IsLoopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback()
}

// New makes a client; it contacts nobody.
func New(o Options) (*Client, error) {
	base, err := ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented to be one
	transport.ResponseHeaderTimeout = answerAfter
	if o.CAFile != "" {
		pool, err := withCA(o.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Client{base: base, key: o.Key, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func withCA(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA file %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// envelope is every JSON answer of the panel.
type envelope struct {
	Status  *bool           `json:"status"` // every answer of a panel has one
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

// Answer is what the panel sent.
type Answer struct {
	Message string
	Data    json.RawMessage
	next    string // cursor of the next page; "" after the last
}

// Do sends body (nil for none) as JSON and returns the data of the answer.
func (c *Client) Do(ctx context.Context, method, path string, query url.Values, body any) (Answer, error) {
	r, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return Answer{}, err
	}
	e, err := c.open(r)
	if err != nil {
		return Answer{}, err
	}
	if r.status/100 != 2 || !*e.Status {
		return Answer{}, refusal(r, e)
	}
	return Answer{Message: e.Message, Data: e.Data, next: r.header.Get("X-Next-Cursor")}, nil
}

// List fetches every page of a list.
func (c *Client) List(ctx context.Context, path string, query url.Values) ([]json.RawMessage, error) {
	all := []json.RawMessage{}
	q := url.Values{"limit": {fmt.Sprint(pageSize)}}
	maps.Copy(q, query)
	for {
		a, err := c.Do(ctx, http.MethodGet, path, q, nil)
		if err != nil {
			return nil, err
		}
		var page []json.RawMessage
		if err := json.Unmarshal(a.Data, &page); err != nil {
			return nil, fmt.Errorf("the panel's list at %s can't be read: %w", path, err)
		}
		all = append(all, page...)
		if a.next == "" || len(page) == 0 {
			return all, nil
		}
		q.Set("cursor", a.next)
	}
}

// Raw fetches an answer that is no JSON on success: a file or a picture.
func (c *Client) Raw(ctx context.Context, path string) ([]byte, error) {
	r, err := c.send(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	if r.status == http.StatusOK {
		return r.body, nil
	}
	e, err := c.open(r)
	if err != nil {
		return nil, err
	}
	return nil, refusal(r, e)
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (reply, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return reply{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{}, c.unreachable(ctx, err)
	}
	return c.read(ctx, resp)
}

// read takes an answer to its end.
func (c *Client) read(ctx context.Context, resp *http.Response) (reply, error) {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return reply{}, c.unreachable(ctx, err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: raw}, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var payload io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		payload = bytes.NewReader(b)
	}
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), payload)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	return req, nil
}

// unreachable puts a failed exchange into words; a cancelled one keeps its cause.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	reason := err.Error()
	if e, ok := errors.AsType[*url.Error](err); ok {
		reason = e.Err.Error()
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		reason = e.Err.Error()
		if i := strings.LastIndex(reason, ": "); i >= 0 {
			reason = reason[i+2:] // "connect: connection refused"
		}
	}
	return &ReachError{URL: c.base.String(), Reason: reason, cause: err}
}

// open reads the envelope of an answer.
func (c *Client) open(r reply) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(r.body, &e); err != nil || e.Status == nil {
		return e, c.strange(r)
	}
	return e, nil
}

// strange is an answer that no panel gives.
func (c *Client) strange(r reply) error {
	return &ReachError{URL: c.base.String(), Reason: fmt.Sprintf(
		"what answers there (%d %s, %s) is no wgfleet panel", r.status, http.StatusText(r.status), r.header.Get("Content-Type"))}
}
