package web

import (
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// maxPage is the largest page that can be asked for; without a limit a list is whole.
const maxPage = 10_000

var pageQuery = []queryParam{
	{"limit", "integer", "at most so many entries; without it, all"},
	{"cursor", "string", "where to go on: X-Next-Cursor of the page before"},
}

func pageOf(c *gin.Context) (panel.Page, error) {
	p := panel.Page{Cursor: c.Query("cursor")}
	if text, ok := c.GetQuery("limit"); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return p, panel.Invalid("limit", "expected a whole number from 1 to %d", maxPage)
		}
		p.Limit = n
	}
	return p, nil
}

// boolQuery reads true or false; absent is nil.
func boolQuery(c *gin.Context, name string) (*bool, error) {
	text, ok := c.GetQuery(name)
	if !ok {
		return nil, nil
	}
	switch text {
	case "true":
		return new(true), nil
	case "false":
		return new(false), nil
	}
	return nil, panel.Invalid(name, "expected true or false")
}
