//go:build root

package host

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// snapshot is what a host shows of its network, as lines by section.
type snapshot map[string][]string

// look prints one section after the other. A sysctl that is written only is left out.
const look = `
section() { echo "== $1"; }
section address; ip -d -j addr
section link; ip -d -j link
section route4; ip -d -j -4 route show table all
section route6; ip -d -j -6 route show table all
section rule4; ip -j -4 rule
section rule6; ip -j -6 rule
section resolv.conf; cat /etc/resolv.conf
section sysctl; grep -rHs . /proc/sys/net/ipv[46]/conf/all /proc/sys/net/ipv[46]/conf/"$1" /proc/sys/net/ipv4/ip_forward || true
section firewall; nft list ruleset
section device; wg showconf "$1" 2>/dev/null || true
section sockets; ls /var/run/wireguard 2>/dev/null || true
section hooks; grep -rH . /run/hooks 2>/dev/null || true
section file; cat /etc/wireguard/"$1".conf
`

// snapshot looks at the host until two looks are the same: the kernel finishes some things by itself.
func (h *host) snapshot(name string) snapshot {
	h.t.Helper()
	var text string
	require.Eventually(h.t, func() bool {
		before := text
		text = h.run("bash", "-euc", look, "look", name)
		return text == before
	}, commandTimeout, 1)
	s := snapshot{}
	for part := range strings.SplitSeq(strings.TrimPrefix(text, "== "), "\n== ") {
		section, body, _ := strings.Cut(part, "\n")
		s[section] = read[section](h, strings.TrimSpace(body))
	}
	return s
}

// read makes the lines of a section out of its text.
var read = map[string]func(h *host, text string) []string{
	"address": links, "link": links,
	"route4": objects, "route6": objects, "rule4": objects, "rule6": objects,
	"resolv.conf": plain, "sysctl": plain, "sockets": plain, "hooks": plain,
	"firewall": rules, "device": configuration, "file": configuration,
}

func plain(_ *host, text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return s == "" })
}

// passing are attributes that differ from boot to boot or count something.
var passing = []string{"ifindex", "link_index", "stats", "stats64", "addr_info", "ifname"}

// links has a line for each attribute and each address.
func links(h *host, text string) (lines []string) {
	for _, l := range decode(h, text) {
		addrs, _ := l["addr_info"].([]any)
		for _, a := range addrs {
			lines = append(lines, fmt.Sprintf("%s address %s", l["ifname"], encode(a)))
		}
		for _, key := range slices.Sorted(maps.Keys(l)) {
			if !slices.Contains(passing, key) {
				lines = append(lines, fmt.Sprintf("%s %s %s", l["ifname"], key, encode(l[key])))
			}
		}
	}
	return lines
}

// objects has a line for each route or rule.
func objects(h *host, text string) (lines []string) {
	for _, o := range decode(h, text) {
		lines = append(lines, encode(o))
	}
	slices.Sort(lines)
	return lines
}

func decode(h *host, text string) (all []map[string]any) {
	if text != "" {
		require.NoError(h.t, json.Unmarshal([]byte(text), &all), text)
	}
	return all
}

func encode(v any) string {
	b, err := json.Marshal(v) // its keys come out sorted
	if err != nil {
		panic(err) // it came out of JSON
	}
	return string(b)
}

// rules has a line for each line of a chain, with the table and the chain that it is in.
func rules(_ *host, text string) (lines []string) {
	var in []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case line == "}":
			in = in[:len(in)-1]
		case strings.HasSuffix(line, "{"):
			in = append(in, strings.TrimSpace(strings.TrimSuffix(line, "{")))
			lines = append(lines, strings.Join(in, " / "))
		default:
			lines = append(lines, strings.Join(in, " / ")+": "+line)
		}
	}
	slices.Sort(lines)
	return lines
}

// configuration has a line for each setting of a wg(8) or wg-quick(8) file, whatever the order of its
// keys, peers and list members. Comments and the case of keys mean nothing there.
func configuration(_ *host, text string) (lines []string) {
	type section struct {
		name     string
		settings []string
	}
	var all []section
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		key, value, isSetting := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "["):
			all = append(all, section{name: strings.ToLower(line)})
		case isSetting && len(all) > 0:
			of := &all[len(all)-1]
			key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
			if key == "publickey" {
				of.name += " " + value
				continue
			}
			values := []string{value}
			if slices.Contains(lists, key) {
				values = strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })
			}
			for _, v := range values {
				of.settings = append(of.settings, key+" = "+v)
			}
		}
	}
	for _, s := range all {
		lines = append(lines, s.name)
		for _, setting := range s.settings {
			lines = append(lines, s.name+" "+setting)
		}
	}
	slices.Sort(lines)
	return lines
}

var lists = []string{"address", "allowedips", "dns"}

// change is a line that only one of two snapshots has.
type change struct {
	section string
	added   bool // it is in the second one
	line    string
}

func (c change) String() string {
	return map[bool]string{false: "- ", true: "+ "}[c.added] + c.section + ": " + c.line
}

// compare lists what two snapshots do not share; how often a line is there counts.
func compare(before, after snapshot) (changes []change) {
	for _, section := range slices.Sorted(maps.Keys(before)) {
		for _, line := range without(before[section], after[section]) {
			changes = append(changes, change{section, false, line})
		}
		for _, line := range without(after[section], before[section]) {
			changes = append(changes, change{section, true, line})
		}
	}
	return changes
}

// without takes each line of b out of a once.
func without(a, b []string) []string {
	a = slices.Clone(a)
	for _, line := range b {
		if i := slices.Index(a, line); i >= 0 {
			a = slices.Delete(a, i, i+1)
		}
	}
	return a
}
