package web

import (
	"errors"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/event"
)

// originalKeyHeader is how the original panel's clients send their key.
const originalKeyHeader = "wg-dashboard-apikey"

// admit lets in who may call a route of that role, as often as the limits allow. It runs before
// anything of the body is read.
func (s *Server) admit(r role) gin.HandlerFunc {
	if r == roleOpen {
		return s.limitAddress
	}
	return func(c *gin.Context) {
		if err := s.authorize(c, r); err != nil {
			s.fail(c, err)
		}
	}
}

func (s *Server) authorize(c *gin.Context, r role) error {
	addr := bucketOf(c.ClientIP())
	token := keyOf(c)
	if token == "" {
		return s.refused(addr, errNoKey)
	}
	key, err := s.panel.Authenticate(c.Request.Context(), token)
	if errors.Is(err, panel.ErrUnauthorized) {
		return s.refused(addr, errWrongKey)
	}
	if err != nil {
		return err
	}
	c.Set(ctxKeyName, key.Name)
	who := event.Actor{Kind: event.ActorKey, ID: key.ID, Name: key.Name}
	c.Request = c.Request.WithContext(event.WithActor(c.Request.Context(), who))
	if wait := s.limits.keys.take(key.ID + "|" + addr); wait > 0 {
		return tooMany(wait)
	}
	if !allows(key.Role, r) {
		return errRole
	}
	return nil
}

// refused counts a call without a good key against its address. Good keys are not counted there and
// never meet that limit: many hosts may share an address, and one of them must not lock out the rest.
func (s *Server) refused(addr string, why error) error {
	if wait := s.limits.failures.take(addr); wait > 0 {
		return tooMany(wait)
	}
	return why
}

// limitAddress is for requests without a key.
func (s *Server) limitAddress(c *gin.Context) {
	if wait := s.limits.addresses.take(bucketOf(c.ClientIP())); wait > 0 {
		s.fail(c, tooMany(wait))
	}
}

// keyOf returns the key of a request, "" for none. An Authorization header of another scheme, as
// proxies add, leaves the original's header in force.
func keyOf(c *gin.Context) string {
	scheme, token, _ := strings.Cut(c.GetHeader("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return strings.TrimSpace(c.GetHeader(originalKeyHeader))
}

// allows reports whether a key of role has may call a route that needs needs; an unknown role may
// call none.
func allows(has string, needs role) bool {
	switch needs {
	case roleViewer:
		return slices.Contains([]string{panel.RoleViewer, panel.RoleAdmin}, has)
	case roleAdmin:
		return has == panel.RoleAdmin
	default:
		return false
	}
}
