//go:build root

package migrate

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// recordings are the answers of the original, by name, as the repository's testdata has them.
func (h host) recordings() map[string]string {
	h.Helper()
	f, err := os.Open("original/transcripts.jsonl")
	require.NoError(h, err)
	defer f.Close()
	out := map[string]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var x struct {
			Name     string
			Response struct {
				Status int
				Body   json.RawMessage
			}
		}
		require.NoError(h, json.Unmarshal(lines.Bytes(), &x))
		var text string
		if x.Response.Status == http.StatusOK && json.Unmarshal(x.Response.Body, &text) == nil {
			out[x.Name] = text
		}
	}
	require.NoError(h, lines.Err())
	return out
}

// ask calls the agent as the original's client does, with a v1 signature, and wants 200.
func (h host) ask(method, path, body string) string {
	h.Helper()
	req, err := http.NewRequestWithContext(h.Context(), method, agentAt+path, strings.NewReader(body))
	require.NoError(h, err)
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(strings.Join([]string{method, path, body, stamp}, "|")))
	req.Header.Set("X-Timestamp", stamp)
	req.Header.Set("X-Signature", hex.EncodeToString(m.Sum(nil)))
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(h, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(h, err)
	require.Equal(h, http.StatusOK, resp.StatusCode, "%s %s: %s", method, path, text)
	return string(text)
}

// answers asks every endpoint of the original. What is written to wg0 is taken back; wg9 comes and goes.
func (h host) answers() {
	h.Helper()
	recorded := h.recordings()
	key, err := wgtypes.GenerateKey()
	require.NoError(h, err)
	peer := base64.RawURLEncoding.EncodeToString(key[:]) // the original knows no key with a slash
	peer = strings.NewReplacer("-", "+", "_", "%2F").Replace(peer) + "="
	conf := h.sh("wg-quick", "strip", "wg0")
	private, err := wgtypes.GeneratePrivateKey()
	require.NoError(h, err)
	for _, x := range []struct {
		method, path, body string
		like               string // a recording's name, or what it would be
	}{
		{"GET", "/health", "", "health.ok"},
		{"GET", "/v1/health", "", "health.ok"},
		{"GET", "/v1/status", "", "status.ok_two_peers"},
		{"GET", "/v1/metrics", "", "metrics.two_peers"},
		{"GET", "/v1/wg/wg0/dump", "", "dump.other_interface"},
		{"GET", "/wg/wg0/dump", "", "dump.other_interface"},
		{"GET", "/v1/wg/wg1/dump", "", "dump.other_interface"},
		{"GET", "/v1/wg/wg0/config", "", "config.get"},
		{"POST", "/v1/wg/wg0/peers", fmt.Sprintf(`{"public_key":%q,"allowed_ips":["10.80.0.200/32"],"persistent_keepalive":21}`, key), "add.minimal"},
		{"PUT", "/v1/wg/wg0/peers/" + peer, `{"allowed_ips":["10.80.0.201/32"]}`, `{"status":"success","message":"Peer updated successfully"}`},
		{"DELETE", "/v1/wg/wg0/peers/" + peer, "", `{"status":"success","message":"Peer removed successfully"}`},
		{"POST", "/wg/wg0/peers", fmt.Sprintf(`{"public_key":%q}`, key), "add.minimal"},
		{"DELETE", "/wg/wg0/peers/" + peer, "", `{"status":"success","message":"Peer removed successfully"}`},
		{"POST", "/v1/wg/wg0/syncconf", fmt.Sprintf(`{"config":%q}`, base64.StdEncoding.EncodeToString([]byte(conf))), "syncconf.with_interface"},
		{"PUT", "/v1/wg/wg0/config", fmt.Sprintf(`{"listen_port":51820,"address":"%s/24"}`, nodeAddr), "config.put_interface_down"}, // nothing changes, so nothing is loaded anew
		{"POST", "/v1/wg/wg0/enable", "", `{"status":"success","message":"Interface wg0 is already up","was_down":false}`},
		{"PUT", "/v1/wg/wg9/config", fmt.Sprintf(`{"private_key":%q,"address":"10.89.0.1/24"}`, private), "config.put_iface_new_interface"},
		{"POST", "/v1/wg/wg9/enable", "", `{"status":"success","message":"Interface wg9 enabled successfully","was_down":true}`},
		{"GET", "/v1/wg/wg9/dump", "", "dump.no_peers"},
		{"POST", "/v1/wg/wg9/disable", "", strings.ReplaceAll(recorded["disable.ok"], "wg0", "wg9")},
		{"DELETE", "/v1/wg/wg9", "", `{"status":"success","message":"Interface wg9 deleted successfully"}`},
	} {
		want, ok := recorded[x.like]
		if !ok {
			want = x.like
		}
		got := h.ask(x.method, x.path, x.body)
		if strings.Contains(want, "# TYPE") {
			require.Empty(h, without(names(want), names(got)), "%s %s has no such series", x.method, x.path)
			continue
		}
		var a, b any
		require.NoError(h, json.Unmarshal([]byte(want), &a), want)
		require.NoError(h, json.Unmarshal([]byte(got), &b), got)
		require.Empty(h, unlike(a, b, ""), "%s %s answers\n%.600s\nthe original\n%.600s", x.method, x.path, got, want)
	}
}

var series = regexp.MustCompile(`(?m)^# TYPE (\S+ \S+)$`)

// names are those of the series, with their types.
func names(metrics string) (out []string) {
	for _, m := range series.FindAllStringSubmatch(metrics, -1) {
		out = append(out, m[1])
	}
	return out
}

func without(all, those []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return slices.Contains(those, s) })
}

// unlike tells where got has not the shape of want: each member, of the same type or null in one of them, and the same
// words in what is said. More members are no difference.
func unlike(want, got any, at string) (out []string) {
	if want == nil || got == nil {
		return nil
	}
	if a, b := fmt.Sprintf("%T", want), fmt.Sprintf("%T", got); a != b {
		return []string{fmt.Sprintf("%s is %s, not %s", at, b, a)}
	}
	switch want := want.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for name, w := range want {
			g, there := got[name]
			if !there {
				out = append(out, at+"."+name+" is not there")
				continue
			}
			out = append(out, unlike(w, g, at+"."+name)...)
		}
	case []any:
		got, _ := got.([]any)
		if (len(want) == 0) != (len(got) == 0) && at != ".peer.allowed_ips" {
			return []string{fmt.Sprintf("%s has %d members, not %d", at, len(got), len(want))}
		}
		for _, g := range got {
			if len(want) > 0 {
				out = append(out, unlike(want[0], g, at+"[]")...)
			}
		}
	case string:
		if (at == ".status" || at == ".message") && got != want {
			out = append(out, fmt.Sprintf("%s is %q, not %q", at, got, want))
		}
	case bool:
		if got != want {
			out = append(out, fmt.Sprintf("%s is %v, not %v", at, got, want))
		}
	}
	return out
}
