package panelclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// ReachError says that the panel could not be asked.
type ReachError struct {
	URL    string
	Reason string
	cause  error
}

// Error is one line that says what to do next.
func (e *ReachError) Error() string {
	return fmt.Sprintf("cannot reach the panel at %s: %s; is `wgfleet serve --panel` running? (WGFLEET_URL)", e.URL, e.Reason)
}

// Unwrap returns the cause.
func (e *ReachError) Unwrap() error { return e.cause }

// APIError is what the panel refused.
type APIError struct {
	Status     int
	Message    string
	Data       json.RawMessage
	RetryAfter string // seconds; 429 only
}

// Error is one line; refused fields are named, and where there is one thing to do, it is said.
func (e *APIError) Error() string {
	text := strings.TrimSuffix(e.Message, ".")
	if text == "" {
		text = "the panel answered " + http.StatusText(e.Status)
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return text + ": set WGFLEET_API_KEY or give --api-key-file (the panel's host keeps admin.key in its data folder)"
	case http.StatusTooManyRequests:
		return text + ": try again in " + e.RetryAfter + " s"
	case http.StatusUnprocessableEntity:
		return e.fields(text)
	}
	return text
}

// fields names the refused fields where the message does not do so.
func (e *APIError) fields(text string) string {
	var problems []struct{ Field, Error string }
	if json.Unmarshal(e.Data, &problems) != nil {
		return text
	}
	for _, p := range problems {
		if !strings.Contains(text, p.Error) {
			text += "; " + p.Field + ": " + p.Error
		}
	}
	return text
}

func refusal(r reply, e envelope) error {
	return &APIError{Status: r.status, Message: e.Message, Data: e.Data, RetryAfter: r.header.Get("Retry-After")}
}
