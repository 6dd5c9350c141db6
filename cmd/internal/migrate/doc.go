// Package migrate moves a host from the original Python agent to wgfleet and back: it reads what is
// there, says what it would do, does it, and keeps what is needed to undo it.
//
// It owns /etc/wgfleet/wgfleet.env, the unit wgfleet.service and the record migration.json in the
// data folder, and overwrites none that it did not write. The data folder goes when a migration is
// undone that made it, unless somebody may miss what it holds. WireGuard interfaces are only looked at.
// It refuses to touch a host that it does not understand, changes systemd's units over D-Bus alone
// and runs no other program. A plan and what comes of it hold no secret.
//
// Every step can be taken back until the last one is done, and is where one fails or the context
// ends. Errors are sentences for a person, one a line. Nothing here is safe for concurrent use.
package migrate
