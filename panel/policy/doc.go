// Package policy says what the panel does about a node by itself: how often it looks, whether it heals
// and what of, at what times, and when it gives up.
//
// It owns a policy's fields and their limits, how a node's own go over the fleet's default, the windows
// in which healing is allowed (cron expressions in a time zone, right across changes of summer time) and
// the decision when to heal, wait or stop. All of it is pure: it reads no clock, draws no randomness of
// its own and calls nobody. It knows no nodes and no peers, and refuses a policy in sentences that name
// the field.
//
// All types are values and may be used by many goroutines where nobody writes. Times are instants;
// durations of windows are elapsed time, not what a clock on the wall shows.
package policy
