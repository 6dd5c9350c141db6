package client

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Options of a Client. The zero value of each optional field is its default.
type Options struct {
	BaseURL string       // http or https; a path prefix is a proxy's and is not signed
	Secret  agent.Secret // shared with the agent
	// AgentID is the agent that was pinned at the first signed contact; "" before that.
	AgentID string
	// SpeaksV2: it did once, so that from now on nothing less is accepted.
	SpeaksV2 bool
	// AllowPlainSecrets sends keys over plain HTTP beyond loopback.
	AllowPlainSecrets bool
	TLS               TLS
	// Transport makes the connections; nil: one of this client's own, made from TLS. A shared one
	// must come from NewTransport.
	Transport http.RoundTripper
	Now       func() time.Time
}

// Client calls one agent.
type Client struct {
	o      Options
	base   *url.URL
	prefix string // of the path; without a trailing slash
	mac    engine.MACKey
	http   *http.Client
	own    *http.Transport // nil: shared
	plain  bool            // keys may not be sent

	mu  sync.Mutex // protects what follows; not held over I/O
	who identity
}

// New makes a Client; nothing is sent.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.BaseURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Hostname() == "" || base.User != nil {
		return nil, errorf(BadSettings, "agent_url must be an http or https address with a host")
	}
	if o.Secret == "" {
		return nil, errorf(BadSettings, "the node has no shared secret")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Client{
		o: o, base: base, prefix: strings.TrimRight(base.EscapedPath(), "/"), mac: engine.DeriveMACKey([]byte(o.Secret)),
		plain: base.Scheme == "http" && !o.AllowPlainSecrets && !loopback(base.Hostname()),
		who:   identity{id: o.AgentID, confirmed: o.AgentID != "", v2: o.SpeaksV2 || o.AgentID != ""},
	}
	if o.Transport == nil {
		if c.own, err = NewTransport(o.TLS); err != nil {
			return nil, err
		}
		o.Transport = c.own
	}
	c.http = &http.Client{
		Transport:     o.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// loopback reports whether a host is this one by its very name; nothing is resolved.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// Close frees idle connections that are the client's own.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// MAC returns how this client's agent shows a preshared key: for comparing.
func (c *Client) MAC(k engine.SecretKey) string { return c.mac.MAC(k) }
