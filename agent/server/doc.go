// Package server is the agent's HTTP API: signed requests in, changes of WireGuard interfaces out.
//
// It owns the interfaces of its host, one slot each: a slot serialises the writes of its interface,
// keeps a model of devices that this process owns, the last good state in the data folder (a
// snapshot and a log, one fsync per acknowledged write) and the host's wg-quick(8) file. Reads never
// wait for a slot (GET file: a second at most), so no hook, resolver or disk holds up another request.
// One task looks the host names of endpoints up again, see reresolver.
//
// It refuses: requests without a valid signature before it reads more than it must, bodies over
// 8 MiB, names that are no interface names, prefixes that another peer holds, the removal of more
// than was clearly asked for. A refused request has changed nothing. It never sends or logs a
// private key, a preshared key or a shared secret but where Options.ExposeSecrets says so.
//
// Units are those of package agent. A Server is safe for concurrent use; Close waits for its tasks.
// Errors become *agent.Error in one place, errors.go.
package server
