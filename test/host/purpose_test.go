//go:build root

package host

import (
	"path"
	"regexp"
	"sync"
	"testing"
)

// difference is one that is on purpose. files and stages are patterns of path.Match.
type difference struct {
	files, stages string
	section       string
	line          string // a regular expression; "- " stands before what only wg-quick has, "+ " before ours
	why           string
}

// The kernel's own WireGuard has no IPv6 link-local address, and neither has our TUN; that of
// wireguard-go has one.
const noLinkLocal = "an interface of the kernel's own WireGuard has no link-local address either"

var differences = []difference{
	{"*", "up", "address", `- \S+ address .*"local":"fe80:.*`, noLinkLocal},
	{"*", "up", "link", `[-+] \S+ inet6_addr_gen_mode "(random|none)"`, noLinkLocal},
	{"*", "up", "route6", `- .*"dst":"fe80:.*`, noLinkLocal},
	{"*", "up", "sysctl", `[-+] \S+/(addr_gen_mode|stable_secret):.*`, noLinkLocal},
	{"save*", "left by wg-quick", "file", `\+ \[interface\] address = fe80:.*`, noLinkLocal},
	{"save*", "*down*", "file", `- \[interface\] address = fe80:.*`, noLinkLocal},
	{"*", "up", "firewall", `- .* ip6 daddr fe80:.* drop`, noLinkLocal},
	{"*", "left by wg-quick", "sysctl", `[-+] \S+/conf/all/src_valid_mark:[01]`, "wg-quick does not set it back: others may need it by now"},
	{"save*", "left by wg-quick", "file", `[-+] .*`, "SaveConfig writes it"},
	{"hooks", "left by wg-quick", "hooks", `\+ .*`, "the hooks write it"},
}

// seen counts how often each difference was met, and judged which files were.
var seen struct {
	mu     sync.Mutex
	rows   map[int]int
	judged map[string]bool
}

func onPurpose(file, stage string, c change) bool {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if seen.rows == nil {
		seen.rows, seen.judged = map[int]int{}, map[string]bool{}
	}
	seen.judged[file] = true
	found := false
	for i, d := range differences {
		text := map[bool]string{false: "- ", true: "+ "}[c.added] + c.line
		if d.section == c.section && matches(d.files, file) && matches(d.stages, stage) &&
			regexp.MustCompile("^(?:"+d.line+")$").MatchString(text) {
			seen.rows[i]++
			found = true
		}
	}
	return found
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// seenAll fails for a row that no file needs any more.
func seenAll(t *testing.T, files int) {
	t.Helper()
	if len(seen.judged) < files {
		return // -run chose some of them
	}
	for i, d := range differences {
		if seen.rows[i] == 0 {
			t.Errorf("no file shows this difference any more: %+v", d)
		}
	}
}
