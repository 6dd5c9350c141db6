package panel

import "time"

// Roles of a key.
const (
	RoleAdmin  = "admin"
	RoleViewer = "viewer" // reads; sees no secret
)

// Key is an API key. The key itself is not in it: the panel keeps only a hash.
type Key struct {
	ID        string
	Name      string
	Role      string
	CreatedAt time.Time
}
