// Package migrate moves a host from the original Python agent to wgfleet and back: it reads what is
// there, says what it would do, does it, and keeps what is needed to undo it.
//
// It refuses to touch a host that it does not understand. It changes systemd units over D-Bus and
// runs no other program. Not safe for concurrent use.
package migrate
