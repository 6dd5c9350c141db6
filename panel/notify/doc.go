// Package notify tells people and programs outside what happened to the fleet: by webhook, to a Slack channel, by
// email.
//
// It owns the channels with their rules and secrets, the deliveries and their log. It knows events and nothing of
// nodes but their ids and the hosts that agents answer on. Each channel follows the log of events by itself, with a
// cursor in the store, and has a queue of its own: a receiver that is slow or dead delays no other. What was collected
// for a moment (Channel.Debounce) becomes one delivery; it is tried until the receiver takes it, always under the
// same id, for about a day, a day and a half at most. So each event is told at least once, or it is told that it was not.
//
// It refuses to connect to loopback, link-local and multicast addresses, to the metadata services of clouds, and to
// the agents, whatever name led there; Allow makes exceptions. Where an agent's name can't be looked up and never could
// be, nothing is sent but to hosts that Allow names. It follows no redirect and uses no proxy. A channel's URL, secret
// and password never stand in an error, a log line, an event or a delivery.
//
// A Notifier may be used by many goroutines. Times are UTC. Errors are ErrNotFound, ErrConflict and *InvalidError, or
// those of package store, wrapped. What a receiver does wrong is no error but stands in the Delivery.
package notify
