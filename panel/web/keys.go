package web

import (
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// keyData is an API key without the key.
type keyData struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Role      string `json:"role" doc:"admin or viewer"`
	CreatedAt string `json:"created_at" format:"date-time"`
}

// createdKeyData is the answer of a creation, the only one that shows the key.
type createdKeyData struct {
	keyData
	Key string `json:"key" doc:"the key: shown this once"`
}

type keyBody struct {
	Name *string `json:"name" required:"true"`
	Role *string `json:"role" required:"true" doc:"admin or viewer"`
}

func fromKey(k panel.Key) keyData {
	return keyData{ID: k.ID, Name: k.Name, Role: k.Role, CreatedAt: stamp(k.CreatedAt)}
}

func (s *Server) listKeys(c *gin.Context, _ none) (answer[[]keyData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]keyData]{}, err
	}
	keys, next, err := s.panel.Keys(c.Request.Context(), page)
	return answer[[]keyData]{message: "Keys listed", data: each(keys, fromKey), next: next}, err
}

func (s *Server) createKey(c *gin.Context, b keyBody) (answer[createdKeyData], error) {
	var problems []panel.FieldProblem
	if b.Name == nil || *b.Name == "" {
		problems = append(problems, panel.FieldProblem{Field: "name", Error: "is needed"})
	}
	if b.Role == nil || (*b.Role != panel.RoleAdmin && *b.Role != panel.RoleViewer) {
		problems = append(problems, panel.FieldProblem{Field: "role", Error: "expected admin or viewer"})
	}
	if problems != nil {
		return answer[createdKeyData]{}, &panel.InvalidError{Problems: problems}
	}
	k, token, err := s.panel.CreateKey(c.Request.Context(), *b.Name, *b.Role)
	return answer[createdKeyData]{message: "Key created", data: createdKeyData{fromKey(k), token}}, err
}

func (s *Server) deleteKey(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.DeleteKey(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Key deleted"}, err
}
