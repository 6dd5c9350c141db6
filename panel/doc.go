// Package panel holds the use cases of the panel role: nodes, their overrides and interface
// wishes, groups and templates, peers, API keys, drift reports and reconciliation. It keeps the
// desired state in a store, reaches nodes through an agent client, and decides nothing about
// WireGuard itself: that is engine's and panel/drift's.
//
// It refuses what a node would refuse before anything is stored or sent, and never calls a node
// that could not be looked at "in sync". Secrets travel in types that redact themselves.
//
// Units: keepalive in seconds, MTU in bytes, times in UTC. A Service is safe for concurrent use; no
// lock and no transaction is held across a call to a node, except the node's own slot.
//
// Errors are the types of errors.go, which panel/web maps to HTTP.
package panel
