// Package drift compares what a node should be with what it was seen to be, plans the way from one
// to the other, and says in words what differs. Classify and Plan are pure functions of values;
// they know no network and no store.
//
// Not knowing is not in sync: a Report is InSync only where both sides were read whole. Allowed IPs
// are compared as sets of canonical prefixes, preshared keys by their MAC; endpoints, handshakes
// and counters are never drift.
package drift
