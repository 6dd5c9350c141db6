package panelclient

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// eventStream is the media type of server-sent events, see the HTML standard, 9.2.
const eventStream = "text/event-stream"

// maxEventLine is how long a line of a stream may be, in bytes.
const maxEventLine = 4 << 20

// StreamEvent is one event of a stream. Without data it says only where the stream stands.
type StreamEvent struct {
	ID   string
	Data json.RawMessage // nil: none
}

// Stream yields the events that the panel sends, until it or ctx ends; the last pair says why. last is the id
// of the last event that the caller has, "" for none.
func (c *Client) Stream(ctx context.Context, path string, query url.Values, last string) iter.Seq2[StreamEvent, error] {
	return func(yield func(StreamEvent, error) bool) {
		body, err := c.openStream(ctx, path, query, last)
		if err != nil {
			yield(StreamEvent{}, err)
			return
		}
		defer body.Close()
		var e StreamEvent
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, maxEventLine)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case name == "id":
				e.ID = value
			case name == "data":
				e.Data = append(e.Data, value...)
			case lines.Text() == "" && e.ID != "":
				if !yield(e, nil) {
					return
				}
				e = StreamEvent{}
			}
		}
		err = lines.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		yield(StreamEvent{}, c.unreachable(ctx, err))
	}
}

func (c *Client) openStream(ctx context.Context, path string, query url.Values, last string) (io.ReadCloser, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", eventStream)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && kind == eventStream {
		return resp.Body, nil
	}
	r, err := c.read(ctx, resp)
	if err != nil {
		return nil, err
	}
	e, err := c.open(r)
	if err != nil {
		return nil, err
	}
	if r.status == http.StatusOK {
		return nil, fmt.Errorf("the panel at %s streams nothing: is it an older one?", c.base)
	}
	return nil, refusal(r, e)
}
