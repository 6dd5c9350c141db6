// Package web serves the panel's REST API: routes, request and answer bodies, authentication,
// roles, rate limits, errors, and the OpenAPI description made from the same table as the routes.
//
// It refuses unknown fields, bodies over 8 MiB and requests without a key, and answers
// {status, message, data} always. It holds no state but rate limiters; safe for concurrent use.
package web
