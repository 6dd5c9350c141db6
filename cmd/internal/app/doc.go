// Package app is the process: settings, roles, tasks and shutdown. It is the only room that knows
// all others, and the only one that reads the environment, chooses a backend, binds ports and opens
// the data folder.
//
// Settings come from one table (settings.go): a flag wins over the environment, that over a YAML
// file, that over the default. Load makes them a validated Settings or says in one sentence per bad
// value what was expected; Run takes Settings and runs the roles until its context ends.
//
// It refuses to start with a guessable shared secret, on a data folder that another process uses,
// and with settings that it does not know. It never logs a secret: the administrator's key goes to
// Streams.Out once, at the first start.
//
// Every goroutine belongs to the errgroup of Run; clean-ups run last in, first out, under one
// deadline. Errors are sentences for a person, which say what to do next.
package app
