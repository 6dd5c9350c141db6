package app

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/wgfleet/wgfleet"

// rooms says which rooms of ours each room may import; a name ending in /... covers those below.
// Tests may import more.
var rooms = map[string][]string{
	"engine":                    {},
	"engine/wgquick":            {"engine"},
	"engine/link":               {"engine"},
	"engine/kernel":             {"engine", "engine/link"},
	"engine/netstack":           {"engine"},
	"engine/gateway":            {"engine", "engine/netstack"},
	"engine/offload":            {},
	"engine/userspace":          {"engine", "engine/gateway", "engine/link", "engine/netstack", "engine/offload"},
	"engine/enginetest":         {"engine/..."},
	"engine/enginetest/mesh":    {"engine/..."},
	"engine/enginetest/network": {"engine/..."},
	"agent":                     {"engine"},
	"agent/client":              {"agent", "engine", "engine/wgquick"},
	"agent/client/originaltest": {"agent", "engine", "engine/wgquick"},
	"agent/server":              {"agent", "engine/..."},
	"store":                     {"store/backup"},
	"store/backup":              {"store/internal/cost"},
	"store/backup/backuptest":   {"store/internal/cost"},
	"store/internal/cost":       {},
	"store/storetest":           {"store"},
	"panel":                     {"engine", "engine/wgquick", "agent", "agent/client", "store", "store/backup", "panel/drift", "panel/event", "panel/ipam", "panel/notify", "panel/policy"},
	"panel/drift":               {"engine", "agent"},
	"panel/event":               {"store"},
	"panel/ipam":                {},
	"panel/notify":              {"panel/event", "store"},
	"panel/policy":              {},
	"panel/web":                 {"panel", "panel/drift", "panel/event", "panel/notify", "panel/policy", "agent"},
	"cmd/internal/app":          {"cmd/internal/hostfile", "engine/...", "agent/...", "store", "store/backup", "panel/..."},
	"cmd/internal/fleet":        {"engine/...", "agent", "cmd/internal/..."},
	"cmd/internal/panelclient":  {},
	"cmd/internal/hostfile":     {},
	"cmd/internal/systemd":      {},
	"cmd/internal/install":      {"agent", "cmd/internal/hostfile", "cmd/internal/systemd", "deploy/systemd"},
	"deploy/systemd":            {},
	"cmd/internal/migrate":      {"engine/...", "agent", "agent/client", "cmd/internal/app", "cmd/internal/hostfile", "cmd/internal/systemd"},
	"cmd/wgfleet":               {"engine", "agent", "store/backup", "cmd/internal/..."},
	"test/binary":               {},
	"test/vm":                   {},
	"test/vm/init":              {},
}

// outside says in which rooms a library may be used at all.
var outside = map[string][]string{
	"github.com/dgraph-io/":                   {"store"},
	"filippo.io/age":                          {"store/backup"},
	"github.com/gin-gonic/":                   {"panel/web"},
	"golang.zx2c4.com/wireguard/wgctrl$":      {"engine/kernel"},
	"golang.zx2c4.com/wireguard/device":       {"engine/userspace", "engine/enginetest/mesh"},
	"github.com/vishvananda/netlink":          {"engine/link", "engine/kernel"},
	"github.com/google/nftables":              {"engine/link"},
	"github.com/godbus/dbus":                  {"engine/link"},
	"github.com/coreos/go-systemd":            {"cmd/internal/app", "cmd/internal/systemd"},
	"github.com/prometheus/client_golang":     {"agent/server", "panel/web", "cmd/internal/app"},
	"github.com/knadh/koanf":                  {"cmd/internal/app"},
	"github.com/netresearch/go-cron":          {"panel/policy"},
	"github.com/spf13/cobra":                  {"cmd/wgfleet"},
	"net/smtp":                                {"panel/notify"},
	"os/exec":                                 {"engine/link", "test/binary"},
	"testing":                                 {"engine/enginetest", "engine/enginetest/mesh", "engine/enginetest/network", "store/storetest", "test/binary"},
	"github.com/stretchr/testify":             {"engine/enginetest", "engine/enginetest/mesh", "store/storetest", "test/binary"},
	"golang.zx2c4.com/wireguard/tun/netstack": {"engine/enginetest/mesh"},
	"gvisor.dev/gvisor":                       {"engine/netstack", "engine/gateway", "engine/offload"},
	"github.com/gaissmai/bart":                {"engine/gateway"},
}

// source is one Go file that is no test.
type source struct {
	room    string
	file    string
	imports []string
	comment string // package comment
}

func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	var out []source
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); d.IsDir() && path != root && err == nil {
			return filepath.SkipDir // a module of its own, with no part in the product
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		s := source{room: filepath.ToSlash(dir), file: d.Name(), comment: f.Doc.Text()}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, name)
		}
		out = append(out, s)
		return nil
	}))
	require.Greater(t, len(out), 30, "the module was not found")
	return out
}

func TestRoomsImportInward(t *testing.T) {
	exists := map[string]bool{}
	for _, s := range sources(t) {
		exists[s.room] = true
		allowed, known := rooms[s.room]
		if !known {
			t.Errorf("%s is a new room: say in this test what it may import", s.room)
			continue
		}
		for _, name := range s.imports {
			ours, isOurs := strings.CutPrefix(name, module+"/")
			if isOurs && !covered(allowed, ours) {
				t.Errorf("%s/%s imports %s: the room may import %v", s.room, s.file, ours, allowed)
			}
		}
	}
	for room := range rooms {
		if !exists[room] {
			t.Errorf("there is no room %s: take it out of the map", room)
		}
	}
}

func covered(allowed []string, room string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		if parent, all := strings.CutSuffix(a, "/..."); all {
			return room == parent || strings.HasPrefix(room, parent+"/")
		}
		return a == room
	})
}

func TestLibrariesStayInTheirRooms(t *testing.T) {
	for _, s := range sources(t) {
		for _, name := range s.imports {
			for library, allowed := range outside {
				exact, isExact := strings.CutSuffix(library, "$")
				hit := name == exact
				if !isExact {
					hit = name == library || strings.HasPrefix(name, strings.TrimSuffix(library, "/")+"/")
				}
				if hit && !slices.Contains(allowed, s.room) {
					t.Errorf("%s/%s imports %s, which stays in %v", s.room, s.file, name, allowed)
				}
			}
		}
	}
}

// A package comment says what the room owns, what it refuses, units, concurrency and errors.
func TestEveryRoomSaysWhatItOwns(t *testing.T) {
	const enough = 200 // characters
	comments := map[string]string{}
	for _, s := range sources(t) {
		comments[s.room] += s.comment
	}
	for room, text := range comments {
		if len(text) < enough {
			t.Errorf("%s has a package comment of %d characters: expected what it owns, what it refuses, units, concurrency, errors", room, len(text))
		}
	}
}

func TestFilesStaySmall(t *testing.T) {
	const most = 500
	for _, s := range sources(t) {
		b, err := os.ReadFile(filepath.Join("../../..", s.room, s.file))
		require.NoError(t, err)
		if n := strings.Count(string(b), "\n"); n > most {
			t.Errorf("%s/%s has %d lines: two reasons to change?", s.room, s.file, n)
		}
	}
}
