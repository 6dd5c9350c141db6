package web

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// requestError is a refusal of this room: the request never reached a use case.
type requestError struct {
	status     int
	message    string
	retryAfter time.Duration // with 429
}

// Error is the sentence of the answer.
func (e *requestError) Error() string { return e.message }

var (
	errNoRoute  = &requestError{status: http.StatusNotFound, message: "There is nothing at this path; GET /api/docs lists what there is."}
	errNoMethod = &requestError{status: http.StatusMethodNotAllowed, message: "This path has other methods; the Allow header lists them."}
	errTooLarge = &requestError{status: http.StatusRequestEntityTooLarge, message: "The body is larger than 8 MiB."}
	errNoKey    = &requestError{status: http.StatusUnauthorized, message: "An API key is needed: send it as Authorization: Bearer KEY."}
	errWrongKey = &requestError{status: http.StatusUnauthorized, message: "The API key is not known here; it may have been deleted."}
	errRole     = &requestError{status: http.StatusForbidden, message: "This needs the key of an administrator; yours may only read what holds no secret."}
)

func malformed(sentence string) *requestError {
	return &requestError{status: http.StatusBadRequest, message: sentence}
}

func tooMany(wait time.Duration) *requestError {
	return &requestError{
		status:     http.StatusTooManyRequests,
		message:    fmt.Sprintf("Too many requests: try again in %d s.", wholeSeconds(wait)),
		retryAfter: wait,
	}
}

// wholeSeconds rounds up, so that who waits that long is let in; at least 1.
func wholeSeconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

// statuses is the table of what goes wrong in a use case; the first row that fits counts. An error
// without a row is 500, and its text stays in the log.
var statuses = []struct {
	is     error
	status int
}{
	{panel.ErrNoPrivateKey, http.StatusConflict},
	{panel.ErrNotEmpty, http.StatusConflict},
	{panel.ErrNotFound, http.StatusNotFound},
	{panel.ErrConflict, http.StatusConflict},
	{panel.ErrUnauthorized, http.StatusUnauthorized},
	{panel.ErrNode, http.StatusBadGateway},
	{panel.ErrUnavailable, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusGatewayTimeout},
	{context.Canceled, http.StatusServiceUnavailable},
}

// nodeProblem is the data of a 502.
type nodeProblem struct {
	NodeID string `json:"node_id"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// conflictProblem is the data of a 409 that programs tell apart.
type conflictProblem struct {
	Code string `json:"code"`
}

// refusal turns an error into a status and an answer. known is false where the error has no row.
func refusal(err error) (status int, e envelope, known bool) {
	if r, ok := errors.AsType[*requestError](err); ok {
		return r.status, envelope{Message: r.message}, true
	}
	if invalid, ok := errors.AsType[*panel.InvalidError](err); ok {
		return http.StatusUnprocessableEntity, envelope{Message: invalid.Error(), Data: notNil(invalid.Problems)}, true
	}
	for _, row := range statuses {
		if errors.Is(err, row.is) {
			return row.status, envelope{Message: err.Error(), Data: problemData(err)}, true
		}
	}
	return http.StatusInternalServerError, envelope{}, false
}

func problemData(err error) any {
	switch {
	case errors.Is(err, panel.ErrNoPrivateKey):
		return conflictProblem{Code: "no_private_key"}
	case errors.Is(err, panel.ErrNotEmpty):
		return conflictProblem{Code: "not_empty"}
	case errors.Is(err, panel.ErrNode):
		p := nodeProblem{Code: "unreachable", Reason: err.Error()}
		if n, ok := errors.AsType[*panel.NodeError](err); ok {
			p = nodeProblem{NodeID: n.NodeID, Code: n.Code, Reason: n.Reason}
		}
		return p
	default:
		return nil
	}
}

// fail answers err; what went wrong here, and only that, is left for the request's log line.
func (s *Server) fail(c *gin.Context, err error) {
	status, e, known := refusal(err)
	if !known {
		e.Message = "Something went wrong here: the panel's log has it under the request " + requestID(c) + "."
	}
	if status >= http.StatusInternalServerError {
		c.Set(ctxError, err)
	}
	if status == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", `Bearer realm="wgfleet"`)
	}
	if r, ok := errors.AsType[*requestError](err); ok && r.retryAfter > 0 {
		c.Header("Retry-After", strconv.Itoa(wholeSeconds(r.retryAfter)))
	}
	c.Abort()
	if c.Writer.Written() {
		return // too late for another answer
	}
	if err := writeJSON(c, status, e); err != nil {
		c.Set(ctxError, err)
		c.Status(http.StatusInternalServerError)
	}
}
