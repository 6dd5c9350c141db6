package main

import (
	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// fileLines is how many differences of a file are printed.
const fileLines = 10

// printFileDrift says what a restart of a node's interface would change.
func (c *console) printFileDrift(r panelclient.Report) {
	if r.File == nil || len(*r.File) == 0 {
		return
	}
	path := printable(r.FilePath)
	if r.FileSpeaks != nil && !*r.FileSpeaks {
		c.printf("  the file %s on the host differs in %d places: a restart would bring the last good state back, and not what it says\n",
			path, r.Summary.FileDrift)
		return
	}
	c.printf("  the file %s on the host differs: a %s would change\n", path, c.paint(yellow, "restart"))
	list := *r.File
	for _, m := range list[:min(len(list), fileLines)] {
		c.printf("    %s\n", restartWould(m))
	}
	if more := r.Summary.FileDrift - fileLines; more > 0 {
		c.printf("    and %d more: --json lists them\n", more)
	}
}

// restartWould puts one difference into words, as what follows from it.
func restartWould(m panelclient.FileMismatch) string {
	field, peer := printable(m.Field), ""
	if m.Peer != nil {
		peer = printable(*m.Peer)
	}
	switch {
	case m.Field == agent.FieldFile:
		return "the interface would stay down: the file is not usable: " + plain(m.File)
	case m.Field == agent.FieldMissing:
		return "peer " + peer + " " + plain(m.Device) + " would go: the file does not have it"
	case m.Field == agent.FieldUnknown:
		return "peer " + peer + " " + plain(m.File) + " would come"
	case peer != "":
		return field + " of peer " + peer + ": " + plain(m.Device) + " becomes " + plain(m.File)
	}
	return field + ": " + plain(m.Device) + " becomes " + plain(m.File)
}
