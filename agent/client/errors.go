package client

import (
	"fmt"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

// Kind says what went wrong between here and the agent.
type Kind string

// The kinds.
const (
	Unreachable  Kind = "unreachable"   // no answer; whether a write was done is not known
	Refused      Kind = "refused"       // the agent said no: see Error.Agent
	Unauthorized Kind = "unauthorized"  // the signature was not accepted
	ClockOff     Kind = "clock"         // the clocks differ too much: see Error.Skew
	NotAuthentic Kind = "not_authentic" // the answer is not the agent's own, or another agent answered
	Malformed    Kind = "malformed"     // the answer makes no sense
	PlainSecret  Kind = "plain_secret"  // a key would have crossed plain HTTP; nothing was sent
	Unsupported  Kind = "original_agent"
	BadSettings  Kind = "settings" // BaseURL, certificate or pin
)

// Error is what every method returns. Its text is one sentence without secrets.
type Error struct {
	Kind   Kind
	Reason string
	Status int           // of the answer; 0: there was none
	Agent  *agent.Error  // what the agent said; nil where it said nothing that is known to be its own
	Skew   time.Duration // the agent's clock less ours, for ClockOff
	Err    error         // cause
}

// Error is the sentence.
func (e *Error) Error() string { return e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches an *Error of the same Kind without any other field: errors.Is(err, &Error{Kind: k}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Kind: e.Kind}
}

func errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Reason: fmt.Sprintf(format, args...)}
}
