// Package web serves the panel's REST API: routes, request and answer bodies, authentication,
// roles, rate limits, errors, and the OpenAPI description made from the same table as the routes.
//
// It refuses unknown and repeated fields, bodies over 8 MiB, and requests without a key: a route
// without a role can't be registered, and the only open ones are the liveness check, the
// description and its page, which hold nothing of the fleet. Viewers read what holds no secret.
//
// Every JSON answer is {status, message, data}. Times are RFC 3339 in UTC, keepalives in seconds,
// latencies in milliseconds. What a body leaves out, sets to null and sets to a value are three
// different things. A Server holds no state but rate limiters and request metrics and is safe for
// concurrent use; only two changes of interface wishes wait for each other. Handlers return errors; errors.go is the one table of their HTTP statuses.
package web
