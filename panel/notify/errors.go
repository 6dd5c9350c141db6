package notify

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of the use cases.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
)

// Problem is one refused field, by its name in the API.
type Problem struct {
	Field string
	Error string // one clause: what is wrong and what was expected
}

// InvalidError lists refused fields.
type InvalidError struct{ Problems []Problem }

// Error is one line.
func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		parts[i] = p.Field + ": " + p.Error
	}
	return strings.Join(parts, "; ")
}

// refusal is one of the errors above with a sentence of its own.
type refusal struct {
	kind   error
	reason string
}

func (e *refusal) Error() string { return e.reason }
func (e *refusal) Unwrap() error { return e.kind }

func refusef(kind error, format string, args ...any) error {
	return &refusal{kind: kind, reason: fmt.Sprintf(format, args...)}
}

// problems collects refused fields.
type problems struct{ list []Problem }

func (p *problems) add(field, format string, args ...any) {
	p.list = append(p.list, Problem{Field: field, Error: fmt.Sprintf(format, args...)})
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &InvalidError{Problems: p.list}
}
