package panel_test

import (
	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/web"
)

// What the web room asks for, the service has.
var (
	_ web.Nodes      = (*panel.Service)(nil)
	_ web.Interfaces = (*panel.Service)(nil)
	_ web.Peers      = (*panel.Service)(nil)
	_ web.Drift      = (*panel.Service)(nil)
	_ web.Keys       = (*panel.Service)(nil)
)
