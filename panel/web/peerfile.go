package web

import (
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
	"rsc.io/qr"

	"github.com/wgfleet/wgfleet/panel"
)

// pixelsPerModule makes a QR code that a phone reads from a screen.
const pixelsPerModule = 8

// peerConfig gives the client's wg-quick(8) file.
func (s *Server) peerConfig(c *gin.Context) error {
	ctx, node, id := c.Request.Context(), c.Param("id"), c.Param("peer_id")
	file, err := s.panel.ClientConfig(ctx, node, id)
	if err != nil {
		return err
	}
	p, err := s.panel.Peer(ctx, node, id)
	if err != nil {
		return err
	}
	c.Header("Content-Disposition", `attachment; filename="`+fileName(p.Name)+`"`)
	c.Data(http.StatusOK, "text/plain; charset=utf-8", []byte(file.Text))
	s.panel.ClientConfigFetched(ctx, file)
	return nil
}

// peerQR gives the same file as a QR code.
func (s *Server) peerQR(c *gin.Context) error {
	ctx := c.Request.Context()
	file, err := s.panel.ClientConfig(ctx, c.Param("id"), c.Param("peer_id"))
	if err != nil {
		return err
	}
	png, err := qrPNG(file.Text)
	if err != nil {
		return err
	}
	c.Data(http.StatusOK, "image/png", png)
	s.panel.ClientConfigFetched(ctx, file)
	return nil
}

// qrPNG takes the better error correction where the text leaves room for it.
func qrPNG(text string) ([]byte, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		code, err = qr.Encode(text, qr.L)
	}
	if err != nil {
		// The library's error is about the text, which holds a private key.
		return nil, errQRTooLong
	}
	code.Scale = pixelsPerModule
	return code.PNG(), nil
}

var errQRTooLong = error(&panel.InvalidError{Problems: []panel.FieldProblem{{
	Field: "endpoint_allowed_ip", Error: "the file is too long for a QR code; use the file itself, or fewer prefixes",
}}})

// fileName makes a name that a browser can save, and that wg-quick(8) takes as an interface: at
// most 15 characters of [A-Za-z0-9_=+.-], of which none is special at the start.
func fileName(peer string) string {
	const most = 15
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("_=+.-", r):
			return r
		default:
			return '-'
		}
	}, peer)
	name = strings.TrimLeft(name, "-.")
	name = strings.TrimRight(name[:min(len(name), most)], "-.")
	if name == "" {
		name = "peer"
	}
	return name + ".conf"
}
