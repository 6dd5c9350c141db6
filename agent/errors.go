package agent

import (
	"fmt"
	"net/http"
)

// Code is a stable name of what went wrong, for programs.
type Code string

// The codes and, in statuses, their HTTP status.
const (
	CodeMalformed        Code = "malformed_body"
	CodeBadRequest       Code = "bad_request"
	CodeMissingSignature Code = "missing_signature"
	CodeInvalidTimestamp Code = "invalid_timestamp"
	CodeTimestamp        Code = "timestamp_out_of_range"
	CodeSignature        Code = "invalid_signature"
	CodeNonceRequired    Code = "nonce_required"
	CodeInvalidNonce     Code = "invalid_nonce"
	CodeReplayed         Code = "nonce_replayed"
	CodeWrongNode        Code = "wrong_node"
	CodeHookRefused      Code = "hook_refused"
	CodeNotFound         Code = "not_found"
	CodeUnknownInterface Code = "unknown_interface"
	CodeUnknownPeer      Code = "unknown_peer"
	CodeMethod           Code = "method_not_allowed"
	CodeInterfaceExists  Code = "interface_exists"
	CodeInterfaceDown    Code = "interface_down"
	CodeNoGateway        Code = "no_gateway"
	CodeAllowedIPTaken   Code = "allowed_ip_taken"
	CodeMassRemoval      Code = "mass_removal"
	CodeEmpty            Code = "empty_configuration"
	CodePortInUse        Code = "port_in_use"
	CodeAddressInUse     Code = "address_in_use"
	CodePrecondition     Code = "precondition_failed"
	CodeTooLarge         Code = "body_too_large"
	CodeInvalidField     Code = "invalid_field"
	CodeRateLimited      Code = "rate_limited"
	CodeBusy             Code = "busy"
	CodeInternal         Code = "internal"
)

var statuses = map[Code]int{
	CodeMalformed:        http.StatusBadRequest,
	CodeBadRequest:       http.StatusBadRequest,
	CodeMissingSignature: http.StatusUnauthorized,
	CodeInvalidTimestamp: http.StatusUnauthorized,
	CodeTimestamp:        http.StatusUnauthorized,
	CodeSignature:        http.StatusUnauthorized,
	CodeNonceRequired:    http.StatusUnauthorized,
	CodeInvalidNonce:     http.StatusUnauthorized,
	CodeReplayed:         http.StatusUnauthorized,
	CodeWrongNode:        http.StatusUnauthorized,
	CodeHookRefused:      http.StatusForbidden,
	CodeNotFound:         http.StatusNotFound,
	CodeUnknownInterface: http.StatusNotFound,
	CodeUnknownPeer:      http.StatusNotFound,
	CodeMethod:           http.StatusMethodNotAllowed,
	CodeInterfaceExists:  http.StatusConflict,
	CodeInterfaceDown:    http.StatusConflict,
	CodeNoGateway:        http.StatusConflict,
	CodeAllowedIPTaken:   http.StatusConflict,
	CodeMassRemoval:      http.StatusConflict,
	CodeEmpty:            http.StatusConflict,
	CodePortInUse:        http.StatusConflict,
	CodeAddressInUse:     http.StatusConflict,
	CodePrecondition:     http.StatusPreconditionFailed,
	CodeTooLarge:         http.StatusRequestEntityTooLarge,
	CodeInvalidField:     http.StatusUnprocessableEntity,
	CodeRateLimited:      http.StatusTooManyRequests,
	CodeBusy:             http.StatusServiceUnavailable,
	CodeInternal:         http.StatusInternalServerError,
}

// Status returns the HTTP status of the code; 500 for one that is not in the table.
func (c Code) Status() int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// Error is what an agent answers when it refuses: one sentence and a code.
type Error struct {
	Message string `json:"error"`
	Code    Code   `json:"code"`
	// Detail is the original's: a string for 404 and 405 of the router, a list for 422.
	Detail any `json:"detail,omitempty"`
	// Holder is the public key of the peer that has what was asked for (allowed_ip_taken).
	Holder string `json:"holder,omitempty"`
	// Failed names the peers of an Apply that could not be set.
	Failed []FailedPeer `json:"failed,omitempty"`
	// RolledBack tells, after a failed write, whether the device reads as before.
	RolledBack *bool `json:"rolled_back,omitempty"`
}

// Detail is one entry of the original's 422 (pydantic v2).
type Detail struct {
	Type  string         `json:"type"`
	Loc   []any          `json:"loc"`
	Msg   string         `json:"msg"`
	Input any            `json:"input"`
	Ctx   map[string]any `json:"ctx,omitempty"`
}

// Error is the sentence.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error with that code.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}
