package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errSecret: the key of a webhook is none.
var errSecret = errors.New("the secret of the webhook is none of Standard Webhooks")

// Limits of an exchange.
const (
	attemptTimeout = 30 * time.Second
	maxAnswer      = 4 << 10 // bytes of the answer's body that are read
)

// sign is the signature of Standard Webhooks 1.0: HMAC-SHA256 of id, time and body.
func sign(key []byte, id string, at time.Time, body string) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// newTransport follows no proxy and keeps no connection: the next attempt looks at the address again.
func (n *Notifier) newTransport() http.RoundTripper {
	return &http.Transport{
		DialContext: n.dial, DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:        &tls.Config{RootCAs: n.o.Roots, MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// post makes one attempt over HTTP.
func (n *Notifier) post(ctx context.Context, c Channel, id string, p payload) outcome {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(c.URL), strings.NewReader(p.Body))
	if err != nil {
		return failed(errors.New("the channel's URL is none"))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "wgfleet")
	if c.Kind == Webhook {
		key, err := c.Secret.key()
		if err != nil {
			return failed(err)
		}
		at := n.o.Now()
		req.Header.Set("Webhook-Id", id)
		req.Header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("Webhook-Signature", sign(key, id, at, p.Body))
	}
	client := http.Client{
		Transport:     n.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return failed(c.hide(err))
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status has told already
	return n.judge(c, resp, body)
}

// hide takes the URL, which may hold a token, off an error of the client, and what the receiver has repeated of it.
func (c Channel) hide(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", attemptTimeout)
	}
	text := clean(err.Error())
	for _, part := range c.tokens() {
		text = strings.ReplaceAll(text, part, "(hidden)")
	}
	return errors.New(text)
}

// tokens are the parts of the URL that may be secrets, the longest first.
func (c Channel) tokens() []string {
	_, rest, _ := strings.Cut(string(c.URL), "://")
	_, rest, _ = strings.Cut(rest, "/")
	parts := strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("/?&=", r) })
	parts = append(parts, string(c.Secret))
	parts = slices.DeleteFunc(parts, func(p string) bool { return len(p) < 4 })
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	return parts
}

// judge says what an answer means.
func (n *Notifier) judge(c Channel, resp *http.Response, body []byte) outcome {
	o := outcome{code: resp.StatusCode, reply: slackCode(c, body)}
	switch status := resp.StatusCode; {
	case status/100 == 2:
		o.done = true
	case status == http.StatusGone:
		o.gone = true
		o.err = errors.New("the receiver is gone for good (410)")
	case status/100 == 3:
		o.err = fmt.Errorf("the receiver answered %d, a redirect, which is not followed: give the URL that it leads to", status)
	default:
		o.err = fmt.Errorf("the receiver answered %d %s", status, http.StatusText(status))
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		o.after = retryAfter(resp.Header.Get("Retry-After"), n.o.Now())
	}
	return o
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3); 0 for neither.
func retryAfter(text string, now time.Time) time.Duration {
	if s, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}

// errorCode is how Slack says what it does not like, as channel_is_archived.
var errorCode = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// slackCode is the only part of an answer that is kept: other text might repeat what was sent, the token of the URL
// included.
func slackCode(c Channel, body []byte) string {
	text := strings.TrimSpace(string(body))
	if c.Kind != Slack || len(text) > 40 || !errorCode.MatchString(text) || strings.Contains(string(c.URL), text) {
		return ""
	}
	return text
}
