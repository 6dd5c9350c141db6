package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

const maxAnswer = 64 << 20 // bytes of a body

// call is one request; path is escaped already and without the base URL's prefix.
type call struct {
	method string
	path   string
	body   []byte // nil: none
	header map[string]string
	open   bool // not signed, and the answer is not verified
}

// answer is a verified answer, or an unverified one of an open call or the original agent.
type answer struct {
	status          int
	etag            string
	interfaceDigest string
	date            time.Time // zero: none
	body            []byte
}

// ask finds out whom it talks to, sends the call and returns an answer below 400.
func (c *Client) ask(ctx context.Context, r call) (*answer, error) {
	v2, err := c.dialect(ctx)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, r, v2)
}

func (c *Client) send(ctx context.Context, r call, v2 bool) (*answer, error) {
	req, nonce, err := c.request(ctx, r, v2)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if len(body) > maxAnswer {
		return nil, errorf(Malformed, "the agent's answer is larger than %d MiB", maxAnswer>>20)
	}
	a := &answer{
		status: res.StatusCode, body: body,
		etag: res.Header.Get("ETag"), interfaceDigest: res.Header.Get(agent.HeaderInterfaceDigest),
	}
	a.date, _ = http.ParseTime(res.Header.Get("Date"))
	if v2 {
		if err := c.authentic(req, nonce, a, res.Header.Get(agent.HeaderResponseSignature)); err != nil {
			return nil, err
		}
	}
	if a.status >= 300 && a.status != http.StatusNotModified {
		return nil, c.refusal(a, v2)
	}
	return a, nil
}

// authentic verifies that the agent gave this answer to this very request.
func (c *Client) authentic(req *http.Request, nonce string, a *answer, signature string) error {
	ok := c.o.Secret.VerifyAnswer(agent.Answer{
		Status: a.status, Nonce: nonce, ETag: a.etag, InterfaceDigest: a.interfaceDigest, Body: a.body,
	}, signature)
	switch {
	case !ok:
		c.doubt()
		return notSigned(a)
	case a.status == http.StatusUnauthorized:
		c.doubt()
	default:
		c.confirm(req.Header.Get(agent.HeaderNode))
	}
	return nil
}

func (c *Client) request(ctx context.Context, r call, v2 bool) (req *http.Request, nonce string, err error) {
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err = http.NewRequestWithContext(ctx, r.method, c.base.Scheme+"://"+c.base.Host+c.prefix+r.path, body)
	if err != nil {
		return nil, "", &Error{Kind: BadSettings, Reason: "agent_url can't be called", Err: err}
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", "wgfleet")
	if r.open {
		return req, "", nil
	}
	signed := agent.Request{Method: r.method, Target: r.path, Body: r.body, Timestamp: strconv.FormatInt(c.o.Now().Unix(), 10)}
	req.Header.Set(agent.HeaderTimestamp, signed.Timestamp)
	if !v2 {
		req.Header.Set(agent.HeaderSignature, c.o.Secret.SignV1(signed))
		return req, "", nil
	}
	signed.Nonce = agent.NewNonce()
	signed.Node = c.known().id
	req.Header.Set(agent.HeaderNonce, signed.Nonce)
	req.Header.Set(agent.HeaderNode, signed.Node)
	req.Header.Set(agent.HeaderSignature, c.o.Secret.SignV2(signed))
	return req, signed.Nonce, nil
}

// unreachable wraps an error of the transport. The address is left out: it stands in the node.
func (c *Client) unreachable(ctx context.Context, err error) *Error {
	cause := err
	if u, ok := errors.AsType[*url.Error](err); ok {
		cause = u.Err
	}
	reason := fmt.Sprintf("the agent can't be reached: %v", cause)
	switch {
	case errors.Is(err, errPin):
		return &Error{Kind: NotAuthentic, Reason: "the agent's certificate is not the one in tls_pin", Err: cause}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		reason = "the agent did not answer in time"
	case errors.Is(ctx.Err(), context.Canceled):
		reason = "the call to the agent was given up"
	}
	return &Error{Kind: Unreachable, Reason: reason, Err: cause}
}

// notSigned is the error for an answer that nobody with the secret gave to this very request.
func notSigned(a *answer) *Error {
	if a.status == http.StatusUnauthorized {
		return &Error{
			Kind: Unauthorized, Status: a.status,
			Reason: "the agent refused the request and its answer is not signed with the node's secret: the two secrets differ",
		}
	}
	if a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable || a.status == http.StatusGatewayTimeout {
		return &Error{Kind: Unreachable, Status: a.status, Reason: fmt.Sprintf("a proxy before the agent answered %d", a.status)}
	}
	return &Error{
		Kind: NotAuthentic, Status: a.status,
		Reason: fmt.Sprintf("the answer (%d) is not signed by the agent: the two secrets differ, or somebody else answered, or it was changed or repeated on the way", a.status),
	}
}

// refusal is the error for an answer of 300 and more.
func (c *Client) refusal(a *answer, v2 bool) *Error {
	said := readError(a)
	e := &Error{Kind: Refused, Status: a.status, Agent: said, Reason: "the agent refused: " + said.Message}
	if a.status < 400 {
		e.Kind, e.Reason = Malformed, fmt.Sprintf("the agent's address redirects (%d): give the final one", a.status)
	}
	if a.status != http.StatusUnauthorized {
		return e
	}
	e.Kind = Unauthorized
	switch {
	case said.Code == agent.CodeTimestamp || !v2 && said.Message == "Request timestamp too old":
		e.Kind = ClockOff
		e.Reason = "the agent's clock and the panel's differ too much"
		if !a.date.IsZero() {
			e.Skew = a.date.Sub(c.o.Now()).Round(time.Second)
			e.Reason += fmt.Sprintf(": the agent's is off by %s", e.Skew)
		}
	case said.Code == agent.CodeReplayed:
		// Each request has its own nonce: this one came twice, and the first may have been done.
		e.Kind = Unreachable
		e.Reason = "the agent's answer was lost: somebody on the way sent the request again, and whether it was done is not known"
	case said.Code == agent.CodeWrongNode:
		e.Kind = NotAuthentic
		e.Reason = "another agent answers there than the one first met: give the node its secret again to accept the new one"
	}
	return e
}

// readError reads what the agent said; the original's errors have no code, and its router's a
// detail alone.
func readError(a *answer) *agent.Error {
	said := &agent.Error{}
	if json.Unmarshal(a.body, said) == nil && said.Message != "" {
		said.Message = oneLine(said.Message)
		return said
	}
	var d struct {
		Detail json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(a.body, &d) == nil && len(d.Detail) > 0 {
		return &agent.Error{Message: fmt.Sprintf("%d %s", a.status, oneLine(string(d.Detail)))}
	}
	return &agent.Error{Message: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))}
}

// oneLine makes a stranger's text fit for a sentence.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 500 {
		return strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

// read decodes a body.
func read(a *answer, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return &Error{Kind: Malformed, Status: a.status, Reason: "the agent's answer is not the JSON that was expected", Err: err}
	}
	return nil
}
