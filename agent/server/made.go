package server

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
)

// midway stands for the link of an interface on its way up or down: after a crash it is not whole.
const midway = "midway"

// inProcess stands for a device that no link can be found of: it ends with its process.
const inProcess = "process"

// linkID names the link of an interface for as long as it is there: the kernel gives each index once in
// a boot. Tests, whose devices have no links, replace it.
var linkID = func(name string) string {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return inProcess
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return inProcess
	}
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), l.Index)
}

// outlives reports whether the interfaces made here outlive this process.
func (s *Server) outlives() bool {
	k := s.o.Backend.Kind()
	return k != engine.KindTUN && k != engine.KindNetstack
}

// own notes which link is ours. The disk is told at once where the link could outlive this process, else
// with the next record.
func (s *Server) own(sl *slot, id string) error {
	was := sl.made
	sl.made = id
	if sl.journal.state.made == id || !s.outlives() {
		return nil
	}
	err := s.persist(sl, record{}, nil)
	if err != nil {
		sl.made = was
	}
	return err
}

// ours reports whether the link that was found is the one that an earlier life of the agent made.
func (s *lastState) ours(id string) bool { return id != inProcess && s.made == id }
