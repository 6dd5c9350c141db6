// Package panelclient speaks the panel's REST API for the commands of wgfleet.
//
// It owns the request, the envelope {status, message, data}, paging and the sentences in which
// failures are told; it knows no command and prints nothing. Data is handed on as the panel sent it
// (json.RawMessage) and is decoded into the types of answers.go only where a table needs it, so that
// `--json` shows every field, those of newer panels too.
//
// It refuses to follow redirects: a key is sent to the panel that was named and nowhere else. The
// key is never part of an error. Units are those of the API: seconds, bytes, RFC 3339.
//
// A Client is safe for concurrent use. Errors are *APIError for what the panel refused and
// *ReachError where it could not be asked.
package panelclient
