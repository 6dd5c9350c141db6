package server

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// differences compares as the recorder's own tool does; a member that ours has beyond the original's
// is none.
func differences(want, got outcome) []string {
	var out []string
	if want.status != got.status {
		out = append(out, fmt.Sprintf("status %d, the original's %d", got.status, want.status))
	}
	if want.contentType != got.contentType {
		out = append(out, fmt.Sprintf("content type %q, the original's %q", got.contentType, want.contentType))
	}
	if !sameBody(want.body, got.body) {
		out = append(out, fmt.Sprintf("body\n  %.600s\nthe original's\n  %.600s", got.body, want.body))
	}
	if want.device != got.device {
		out = append(out, fmt.Sprintf("device\n%.800s\nthe original's\n%.800s", got.device, want.device))
	}
	return out
}

func sameBody(want, got string) bool {
	var a, b any
	if json.Unmarshal([]byte(want), &a) == nil && json.Unmarshal([]byte(got), &b) == nil {
		return within(a, b, "")
	}
	if strings.Contains(want, "# HELP") {
		return slices.Equal(series(want), series(got))
	}
	return want == got
}

var volatile = []string{
	"timestamp", "uptime", "version", "cpu_percent", "latest_handshake",
	"transfer_rx", "transfer_tx", "total_rx_bytes", "total_tx_bytes",
}

// within reports whether got holds all of want, but for what is volatile.
func within(want, got any, name string) bool {
	switch want := want.(type) {
	case map[string]any:
		got, is := got.(map[string]any)
		if !is {
			return false
		}
		for k, v := range want {
			g, there := got[k]
			switch {
			case !there:
				return false
			case slices.Contains(volatile, k):
				if (v == nil) != (g == nil) {
					return false
				}
			case name == "system":
				if !sameNames(v, g) {
					return false
				}
			case !within(v, g, k):
				return false
			}
		}
		return true
	case []any:
		got, is := got.([]any)
		if !is || len(got) != len(want) {
			return false
		}
		if name == "peers" {
			byKey(want)
			byKey(got)
		}
		for i := range want {
			if !within(want[i], got[i], "") {
				return false
			}
		}
		return true
	}
	return want == got
}

func sameNames(a, b any) bool {
	x, _ := a.(map[string]any)
	y, _ := b.(map[string]any)
	for k := range x {
		if _, there := y[k]; !there {
			return false
		}
	}
	return true
}

func byKey(list []any) {
	name := func(v any) string {
		m, _ := v.(map[string]any)
		s, _ := m["public_key"].(string)
		return s
	}
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(name(a), name(b)) })
}

var (
	sample   = regexp.MustCompile(`\s+[-0-9.e+]+$`)
	keyLabel = regexp.MustCompile(`public_key="([0-9a-f]{8}|[A-Za-z0-9+/]{16})"`)
)

// series are the names and labels of all that is measured. A keyed hash stands where the original
// published the first 16 characters of a key: which of the two it is does not count, how many do.
func series(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, keyLabel.ReplaceAllString(sample.ReplaceAllString(line, ""), `public_key="…"`))
		}
	}
	slices.Sort(out)
	return out
}

// normalDumps normalizes one dump, or several by name.
func normalDumps(t testing.TB, raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return normalDump(one)
	}
	var several map[string]string
	if json.Unmarshal(raw, &several) != nil {
		return string(raw)
	}
	for name, text := range several {
		several[name] = normalDump(text)
	}
	data, err := json.Marshal(several)
	require.NoError(t, err)
	return string(data)
}

func normalDump(text string) string {
	if strings.HasPrefix(text, "rc=") {
		return "no interface"
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	head := strings.Split(lines[0], "\t")
	if port, err := strconv.Atoi(head[2]); err == nil && port > 32767 && !slices.Contains([]int{51820, 51821, 51900, 51822}, port) {
		head[2] = "random"
	}
	var peers []string
	for _, l := range lines[1:] {
		f := strings.Split(l, "\t")
		f[4], f[5], f[6] = "hs", "rx", "tx"
		ips := strings.Split(f[3], ",")
		slices.Sort(ips)
		f[3] = strings.Join(ips, ",")
		peers = append(peers, strings.Join(f, "\t"))
	}
	slices.Sort(peers)
	return strings.Join(append([]string{strings.Join(head, "\t")}, peers...), "\n")
}
