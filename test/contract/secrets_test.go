package contract

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// All that a panel and an agent say, to people, logs and files, is searched for every secret that
// the run made.
func TestNoSecretLeaves(t *testing.T) {
	f := newFleet(t, "WG_AGENT_LOG_LEVEL=DEBUG")
	p := f.peer("laptop", "preshared_key", "auto")
	config := f.ok("GET", f.nodePath("/peers/%s/config", p["id"]), nil).(string)
	viewer := f.object("POST", "/api/keys", map[string]any{"name": "eyes", "role": "viewer"})
	made := f.object("POST", "/api/nodes", map[string]any{"name": "dead", "agent_url": "http://127.0.0.1:1"})
	secrets := map[string]string{
		"shared secret":       secret,
		"made secret":         made["secret"].(string),
		"viewer's key":        viewer["key"].(string),
		"administrator's key": f.key,
	}
	for _, name := range []string{"PrivateKey", "PresharedKey"} {
		m := regexp.MustCompile(name + ` = (\S+)`).FindStringSubmatch(config)
		require.NotNil(t, m, config)
		secrets[name] = m[1]
	}
	own := regexp.MustCompile(`PrivateKey = (\S+)`).FindStringSubmatch(readFile(t, f.file()))
	require.NotNil(t, own)
	secrets["node's private key"] = own[1]

	var said strings.Builder
	hear := func(method, path string, body any) {
		_, v, header := f.call(method, path, body)
		text, err := json.Marshal(v)
		require.NoError(t, err)
		said.Write(text)
		require.NoError(t, header.Write(&said))
	}
	f.agentPeer("PUT", p["public_key"].(string), map[string]any{"preshared_key": key("another"), "persistent_keepalive": 5})
	secrets["another preshared key"] = key("another")
	dead := "/api/nodes/" + made["id"].(string)
	for _, get := range []string{
		"/api/nodes", dead, f.nodePath(""), f.nodePath("/peers"), f.nodePath("/peers/%s", p["id"]), f.nodePath("/interface"), "/api/keys",
		"/api/peers?q=laptop", "/api/drift/nodes", "/api/drift/nodes/" + f.id, "/api/openapi.json", "/metrics",
	} {
		hear("GET", get, nil)
	}
	hear("POST", f.nodePath("/test"), nil)
	hear("POST", dead+"/test", nil)
	hear("POST", "/api/drift/nodes/"+f.id+"/reconcile", map[string]any{"dry_run": true})
	hear("POST", "/api/drift/nodes/"+f.id+"/reconcile", nil)
	hear("PUT", f.nodePath("/peers/%s", p["id"]), map[string]any{"preshared_key": secrets["PresharedKey"] + "x"})
	hear("PUT", f.nodePath("/peers/%s", p["id"]), map[string]any{"private_key": secrets["PrivateKey"][1:]})
	hear("POST", f.nodePath("/peers"), `{"private_key": "`+secrets["PrivateKey"])
	hear("PUT", f.nodePath(""), map[string]any{"secret": 5, "name": ""})
	said.WriteString(f.get("/v1/metrics").body + f.get("/v1/status").body + f.get("/health").body + f.get("/v1/wg").body)
	said.WriteString(f.send("POST", "/v1/wg/wg0/peers", map[string]any{"public_key": key("x"), "preshared_key": secrets["PresharedKey"] + "x"}).body)
	require.Equal(t, 0, f.Stop(), f.Log.String())

	log := strings.Replace(f.Log.String(), f.key, "", 1) // printed once, at the start that made it
	stored := filesBelow(t, filepath.Join(f.dir, "data", "panel"))
	for name, s := range secrets {
		require.NotContains(t, said.String(), s, "%s in an answer", name)
		require.NotContains(t, log, s, "%s in the log", name)
		require.NotContains(t, stored, s, "%s unsealed in the store", name)
	}
}

// filesBelow returns all bytes of a folder.
func filesBelow(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	}))
	require.NotZero(t, all.Len())
	return all.String()
}
