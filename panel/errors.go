package panel

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of the use cases; panel/web maps each to an HTTP status.
var (
	ErrNotFound     = errors.New("not found")                                       // 404
	ErrConflict     = errors.New("conflict")                                        // 409
	ErrUnauthorized = errors.New("unauthorized")                                    // 401
	ErrNode         = errors.New("the node did not answer")                         // 502
	ErrUnavailable  = errors.New("the panel can't store anything now")              // 503
	ErrNotEmpty     = errors.New("the panel is not empty")                          // 409 not_empty
	ErrNoPrivateKey = errors.New("the panel does not have this peer's private key") // 409 no_private_key
)

// errFull: the node can take no other peer.
var errFull error = &refusal{kind: ErrConflict, reason: "the node is full"}

// refusal is one of the errors above with a sentence of its own.
type refusal struct {
	kind   error
	reason string
}

func (e *refusal) Error() string { return e.reason }
func (e *refusal) Unwrap() error { return e.kind }

func conflictf(format string, args ...any) error {
	return &refusal{kind: ErrConflict, reason: fmt.Sprintf(format, args...)}
}

func notFoundf(format string, args ...any) error {
	return &refusal{kind: ErrNotFound, reason: fmt.Sprintf(format, args...)}
}

func isConflict(err error) bool { return errors.Is(err, ErrConflict) }

// FieldProblem is one refused field.
type FieldProblem struct {
	Field string `json:"field"`
	Error string `json:"error"`
}

// InvalidError lists the refused fields (422).
type InvalidError struct {
	Problems []FieldProblem
}

// Error is one line.
func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Field + ": " + p.Error
	}
	return strings.Join(parts, "; ")
}

// Invalid makes an InvalidError of one field.
func Invalid(field, format string, args ...any) *InvalidError {
	return &InvalidError{Problems: []FieldProblem{{Field: field, Error: fmt.Sprintf(format, args...)}}}
}

// NodeError says what went wrong between the panel and one node (502). It wraps ErrNode.
type NodeError struct {
	NodeID string
	Code   string // unreachable, refused, unauthorized, clock, not_authentic, original_agent, …
	Reason string

	// untouched: it is certain that the node is as it was. Of a lost answer it is not.
	untouched bool
	// answered: the agent itself said no, in an answer that is known to be its own.
	answered bool
}

// Error names the node.
func (e *NodeError) Error() string { return fmt.Sprintf("node %s: %s", e.NodeID, e.Reason) }

// Unwrap makes errors.Is(err, ErrNode) true.
func (e *NodeError) Unwrap() error { return ErrNode }
