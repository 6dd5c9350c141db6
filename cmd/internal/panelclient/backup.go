package panelclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"time"
)

// continueAfter is how long an upload waits for the panel to want it, so that a refusal comes before the file is sent.
const continueAfter = 5 * time.Second

// errPlain keeps a passphrase from a network that could read it.
var errPlain = errors.New("the panel is reached over plain HTTP, and others could read the passphrase on its way: " +
	"run this on the panel's own host, or give the panel TLS (WGFLEET_PANEL_TLS_CERT) and an https:// URL")

// Private refuses where a passphrase would travel in the clear.
func (c *Client) Private() error {
	if c.base.Scheme == "https" || IsLoopback(c.base) {
		return nil
	}
	return errPlain
}

// Backup streams an encrypted backup; the caller closes it. One that was cut off ends in an error, and does not verify.
func (c *Client) Backup(ctx context.Context, passphrase string) (io.ReadCloser, error) {
	if err := c.Private(); err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPost, "/api/backup", nil, map[string]string{"passphrase": passphrase})
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return &stream{c: c, ctx: ctx, body: resp.Body}, nil
	}
	return nil, c.refused(ctx, resp)
}

// refused is what an answer says that is no success.
func (c *Client) refused(ctx context.Context, resp *http.Response) error {
	r, err := c.read(ctx, resp)
	if err != nil {
		return err
	}
	e, err := c.open(r)
	if err != nil {
		return err
	}
	return refusal(r, e)
}

// stream puts what ends it too early into words.
type stream struct {
	c    *Client
	ctx  context.Context //nolint:containedctx // of the request that it is the answer of
	body io.ReadCloser
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.c.unreachable(s.ctx, fmt.Errorf("the panel ended the backup before it was whole, see its log: %w", err))
	}
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error { return s.body.Close() }

// Restore uploads a backup and returns the data of the answer. It waits as long as ctx lets it.
func (c *Client) Restore(ctx context.Context, passphrase string, from io.Reader) (json.RawMessage, error) {
	if err := c.Private(); err != nil {
		return nil, err
	}
	req, err := c.request(ctx, http.MethodPost, "/api/restore", nil, nil)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() { w.CloseWithError(writeForm(form, passphrase, from)) }() // ends with r, which the transport closes
	req.Body = r
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Expect", "100-continue")
	client := *c.http
	transport, ok := c.http.Transport.(*http.Transport)
	if ok {
		transport = transport.Clone()
		transport.ExpectContinueTimeout, transport.ResponseHeaderTimeout = continueAfter, 0
		client.Transport = transport
		defer transport.CloseIdleConnections()
	}
	resp, err := client.Do(req)
	if err != nil {
		_ = r.CloseWithError(err)
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, c.refused(ctx, resp)
	}
	answer, err := c.read(ctx, resp)
	if err != nil {
		return nil, err
	}
	e, err := c.open(answer)
	return e.Data, err
}

// Restored is what a panel says of a backup that it restored.
type Restored struct {
	Records int    `json:"records"`
	SHA256  string `json:"sha256"`
}

func writeForm(form *multipart.Writer, passphrase string, from io.Reader) error {
	if err := form.WriteField("passphrase", passphrase); err != nil {
		return err
	}
	part, err := form.CreateFormFile("backup", "wgfleet.backup")
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, from); err != nil {
		return err
	}
	return form.Close()
}
