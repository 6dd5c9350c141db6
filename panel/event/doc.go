// Package event keeps what happened to the fleet: verdicts that changed, plans that were made, every
// action with what was before and after it, who asked for it and how it ended.
//
// It owns the order of events (an event's id is greater than that of each one before it, whatever the
// clock does), their time in the store (by age and by count). It
// knows nothing of nodes and peers but their names, and holds no secret: of a preshared key only
// whether it is set.
//
// A Log may be used by many goroutines. Times are UTC; errors are those of package store, wrapped.
package event
