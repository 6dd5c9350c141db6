package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/store/backup"
)

const testPassphrase = "correct horse battery staple"

// call sends a request and returns its status and body.
func (r *running) call(t require.TestingT, method, path, kind string, body io.Reader) (int, []byte) {
	req, err := http.NewRequestWithContext(context.Background(), method, r.PanelURL+path, body)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+string(r.AdminKey))
	req.Header.Set("Content-Type", kind)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, text
}

// data sends JSON and returns the data of an answer that is a success.
func (r *running) data(t require.TestingT, method, path string, body any) any {
	text, err := json.Marshal(body)
	require.NoError(t, err)
	status, answer := r.call(t, method, path, "application/json", bytes.NewReader(text))
	require.Equal(t, http.StatusOK, status, "%s %s %s: %s", method, path, text, answer)
	var e struct{ Data any }
	require.NoError(t, json.Unmarshal(answer, &e), string(answer))
	return e.Data
}

func (r *running) id(t require.TestingT, path string, body any) string {
	id, _ := r.data(t, http.MethodPost, path, body).(map[string]any)["id"].(string)
	require.NotEmpty(t, id)
	return id
}

func (r *running) backup(t require.TestingT) ([]byte, backup.Summary) {
	status, file := r.call(t, http.MethodPost, "/api/backup", "application/json", strings.NewReader(`{"passphrase":"`+testPassphrase+`"}`))
	require.Equal(t, http.StatusOK, status, string(file[:min(len(file), 500)]))
	sum, err := backup.Verify(bytes.NewReader(file), testPassphrase)
	require.NoError(t, err)
	return file, sum
}

func (r *running) restore(t require.TestingT, file []byte, passphrase string) (int, string) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	require.NoError(t, form.WriteField("passphrase", passphrase))
	part, err := form.CreateFormFile("backup", "file")
	require.NoError(t, err)
	_, err = part.Write(file)
	require.NoError(t, errors.Join(err, form.Close()))
	return r.upload(t, form.FormDataContentType(), &body)
}

func (r *running) upload(t require.TestingT, kind string, form io.Reader) (int, string) {
	status, answer := r.call(t, http.MethodPost, "/api/restore", kind, form)
	return status, string(answer)
}

// draw makes a random fleet with calls of the API; made is told of each thing, secrets collects what may not be seen.
func (r *running) draw(t *rapid.T) (paths []string, secrets []string) {
	name := func(label string) string {
		return rapid.StringMatching(`[a-zä][a-z0-9 äö-]{1,12}[a-z]`).Draw(t, label)
	}
	unique := 0
	fresh := func(label string) string { unique++; return fmt.Sprintf("%s %d", name(label), unique) }
	maybe := func(in map[string]any, field string, value any) {
		if rapid.Bool().Draw(t, field) {
			in[field] = value
		}
	}
	settings := func(in map[string]any) map[string]any {
		maybe(in, "override_mtu", rapid.IntRange(1280, 1500).Draw(t, "mtu"))
		maybe(in, "override_dns", "9.9.9.9, corp.example")
		maybe(in, "override_keepalive", rapid.IntRange(0, 65535).Draw(t, "keepalive"))
		return in
	}
	var groups, nodeTemplates []string
	for range rapid.IntRange(0, 2).Draw(t, "groups") {
		groups = append(groups, r.id(t, "/api/groups", settings(map[string]any{"name": fresh("group")})))
	}
	for range rapid.IntRange(0, 2).Draw(t, "templates") {
		nodeTemplates = append(nodeTemplates, r.id(t, "/api/templates", map[string]any{"name": fresh("template"), "kind": "node", "mtu": 1400}))
	}
	paths = []string{"/api/nodes", "/api/groups", "/api/templates", "/api/drift/rules", "/api/drift/policy", "/api/keys", "/api/notifications", "/api/peers", "/api/events?limit=500"}
	for n := range rapid.IntRange(1, 3).Draw(t, "nodes") {
		secret := fmt.Sprintf("shared secret of a node %d %d", n, rapid.Uint64().Draw(t, "secret"))
		secrets = append(secrets, secret)
		in := settings(map[string]any{
			"name": fresh("node"), "agent_url": "http://127.0.0.1:1", "secret": secret, "ip_pool_cidr": fmt.Sprintf("10.%d.0.0/24, fd00:%d::/64", n, n),
			"enabled": rapid.Bool().Draw(t, "enabled"),
		})
		if len(groups) > 0 {
			maybe(in, "group_id", groups[0])
		}
		if len(nodeTemplates) > 0 {
			maybe(in, "template_id", nodeTemplates[0])
		}
		node := "/api/nodes/" + r.id(t, "/api/nodes", in)
		paths = append(paths, node, node+"/peers", node+"/interface", node+"/revisions", node+"/effective", node+"/revisions/1")
		for range rapid.IntRange(0, 4).Draw(t, "peers") {
			psk, err := engine.GeneratePresharedKey()
			require.NoError(t, err)
			in := map[string]any{"name": fresh("peer"), "allow_offline": true, "preshared_key": psk.Reveal().String()}
			maybe(in, "persistent_keepalive", 25)
			maybe(in, "expires_at", "2099-01-02T03:04:05Z")
			maybe(in, "enabled", false)
			peer := node + "/peers/" + r.id(t, node+"/peers", in)
			secrets = append(secrets, psk.Reveal().String())
			paths = append(paths, peer, peer+"/config")
		}
		own, err := engine.GeneratePrivateKey()
		require.NoError(t, err)
		wish := map[string]any{"public_key": own.PublicKey().String()} // without it there is no client's file
		maybe(wish, "mtu", 1380)
		r.data(t, http.MethodPut, node+"/interface", wish)
		r.data(t, http.MethodPut, node, map[string]any{"endpoint": "vpn.example.org:51820"})
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			r.data(t, http.MethodPut, node, map[string]any{"endpoint": "vpn" + fmt.Sprint(rapid.IntRange(0, 99).Draw(t, "endpoint")) + ".example.org:51820"})
		}
	}
	if rapid.Bool().Draw(t, "rule") {
		r.id(t, "/api/drift/rules", map[string]any{"action": "ignore", "allowed_ips": "10.99.0.0/16"})
	}
	if rapid.Bool().Draw(t, "policy") {
		r.data(t, http.MethodPut, "/api/drift/policy", map[string]any{"interval": "7m"})
	}
	if rapid.Bool().Draw(t, "channel") {
		token := fmt.Sprintf("url-token-%d", rapid.Uint64().Draw(t, "token"))
		r.id(t, "/api/notifications", map[string]any{"name": fresh("channel"), "kind": "webhook", "url": "https://hooks.example.org/" + token, "enabled": false})
		secrets = append(secrets, token)
	}
	for range rapid.IntRange(0, 2).Draw(t, "keys") {
		k, _ := r.data(t, http.MethodPost, "/api/keys", map[string]any{"name": fresh("key"), "role": "viewer"}).(map[string]any)
		secrets = append(secrets, k["key"].(string))
	}
	return paths, secrets
}

// answers are what the API says, but for what is of the moment.
func (r *running) answers(t require.TestingT, paths []string) map[string]any {
	out := make(map[string]any, len(paths))
	for _, path := range paths {
		if strings.HasSuffix(path, "/config") {
			status, text := r.call(t, http.MethodGet, path, "", nil)
			out[path] = fmt.Sprint(status, string(text))
			continue
		}
		data := r.data(t, http.MethodGet, path, nil)
		if list, ok := data.([]any); ok {
			data = slices.DeleteFunc(list, func(v any) bool {
				m := v.(map[string]any)
				return m["id"] == "admin" || slices.Contains([]any{"backup.made", "backup.restored", "condition.changed", "drift.changed"}, m["kind"])
			})
		}
		out[path] = timeless(data)
	}
	return out
}

func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"health", "last_seen", "conditions", "error"} {
			delete(v, name)
		}
		for name, value := range v {
			v[name] = timeless(value)
		}
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	}
	return v
}

func same(t *testing.T, want, got map[string]any) {
	t.Helper()
	for path := range want {
		require.Equal(t, want[path], got[path], path)
	}
}

func panelAlone(t *testing.T, dir string, more ...string) *running {
	t.Helper()
	return start(t, dir, append([]string{"WGFLEET_PANEL=true", "WGFLEET_NO_AGENT=true", "WGFLEET_RATE_LIMIT=off"}, more...)...)
}

// Whatever fleet a panel keeps: one that is restored from its backup says the same, and nothing that is secret shows on
// the way.
func TestRestoredPanelSaysTheSame(t *testing.T) {
	for seed := range 5 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			old := panelAlone(t, t.TempDir())
			var paths, secrets []string
			rapid.Custom(func(rt *rapid.T) int { paths, secrets = old.draw(rt); return 0 }).Example(seed)
			file, sum := old.backup(t)
			before := old.answers(t, paths)

			dir := t.TempDir()
			next := panelAlone(t, dir)
			status, answer := next.restore(t, file, testPassphrase)
			require.Equal(t, http.StatusOK, status, answer)
			require.Contains(t, answer, sum.SHA256)
			same(t, before, next.answers(t, paths))
			configs := 0
			for _, path := range paths {
				if strings.HasSuffix(path, "/config") {
					_, text := next.call(t, http.MethodGet, path, "", nil)
					for line := range strings.SplitSeq(string(text), "\n") {
						if key, ok := strings.CutPrefix(line, "PrivateKey = "); ok {
							secrets = append(secrets, key)
							configs++
						}
					}
				}
			}

			for path := range before {
				if strings.HasSuffix(path, "/config") {
					configs--
				}
			}
			require.Zero(t, configs, "each peer's file was there, with its key")
			secrets = append(secrets, testPassphrase, string(old.AdminKey), string(next.AdminKey))
			require.NoError(t, next.stop())
			require.NoError(t, old.stop())
			everywhere := file
			everywhere = append(everywhere, old.log.String()+next.log.String()+answer...)
			require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() || d.Name() == AdminKeyFile {
					return err
				}
				b, err := os.ReadFile(path)
				everywhere = append(everywhere, b...)
				return err
			}))
			require.Greater(t, len(secrets), 3)
			require.True(t, bytes.Contains(everywhere, []byte(strings.TrimPrefix(paths[9], "/api/nodes/"))), "the search must see ids")
			for _, secret := range secrets {
				require.False(t, bytes.Contains(everywhere, []byte(secret)), "a secret shows")
			}

			again := panelAlone(t, dir)
			same(t, before, again.answers(t, paths))
		})
	}
}

// With its agent, a panel moves to another host: the node of the old one is the new one, and peers can be added at once.
func TestRestoreOntoAnotherHost(t *testing.T) {
	old := start(t, t.TempDir(), "WGFLEET_PANEL=true")
	node := "/api/nodes/" + old.NodeID
	old.id(t, node+"/peers", map[string]any{"name": "laptop"})
	k, _ := old.data(t, http.MethodPost, "/api/keys", map[string]any{"name": "ci", "role": "admin"}).(map[string]any)
	file, _ := old.backup(t)
	require.NoError(t, old.stop())

	dir := t.TempDir()
	next := start(t, dir, "WGFLEET_PANEL=true")
	// A stream that is open ends; one that comes afterwards is of the restored panel.
	ended := make(chan error, 1)
	opened := make(chan struct{})
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, next.PanelURL+"/api/events", nil)
		if err != nil {
			ended <- err
			return
		}
		req.Header.Set("Authorization", "Bearer "+string(next.AdminKey))
		req.Header.Set("Accept", "text/event-stream")
		resp, err := (&http.Client{}).Do(req)
		close(opened)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		ended <- err
	}()
	<-opened
	agentBefore := next.data(t, http.MethodPost, "/api/nodes/"+next.NodeID+"/test", map[string]any{})
	status, answer := next.restore(t, file, testPassphrase)
	require.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, <-ended)

	agentAfter := next.data(t, http.MethodPost, node+"/test", map[string]any{}).(map[string]any)
	require.Equal(t, agentBefore.(map[string]any)["agent_id"], agentAfter["agent_id"], "the agent went on, and is this host's node")
	next.id(t, node+"/peers", map[string]any{"name": "phone"})
	report, _ := next.data(t, http.MethodGet, "/api/drift/nodes/"+old.NodeID, nil).(map[string]any)
	require.Len(t, report["missing_peers"], 1, "the laptop is not on this host yet")
	reconciled, _ := next.data(t, http.MethodPost, "/api/drift/nodes/"+old.NodeID+"/reconcile", map[string]any{}).(map[string]any)
	require.Equal(t, true, reconciled["verified"], reconciled)

	own := next.AdminKey
	next.AdminKey = APIKey(k["key"].(string))
	next.data(t, http.MethodGet, "/api/nodes", nil)
	next.AdminKey = old.AdminKey
	status, _ = next.call(t, http.MethodGet, "/api/nodes", "", nil)
	require.Equal(t, http.StatusUnauthorized, status, "the administrator's key is that of this panel's settings alone")
	next.AdminKey = own
	require.NoError(t, next.stop())

	again := start(t, dir, "WGFLEET_PANEL=true")
	require.Equal(t, own, again.AdminKey)
	require.Equal(t, old.NodeID, again.NodeID)
	require.Len(t, again.data(t, http.MethodGet, node+"/peers", nil), 2)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, strings.HasPrefix(e.Name(), "panel."), e.Name())
	}
}

// What is refused changes nothing, and the panel goes on.
func TestRefusedRestoreChangesNothing(t *testing.T) {
	old := panelAlone(t, t.TempDir())
	old.id(t, "/api/groups", map[string]any{"name": "berlin"})
	file, sum := old.backup(t)
	dir := t.TempDir()
	next := panelAlone(t, dir)
	bad := slices.Clone(file)
	bad[len(bad)/2] ^= 1
	for name, tt := range map[string]struct {
		file       []byte
		passphrase string
		want       string
	}{
		"wrong passphrase": {file, "another passphrase", "passphrase: does not open this backup"},
		"truncated":        {file[:len(file)-1], testPassphrase, "backup: the backup is damaged or not complete"},
		"flipped":          {bad, testPassphrase, "backup: the backup is damaged or not complete"},
		"no backup":        {[]byte("hello"), testPassphrase, "backup: this is no backup of wgfleet"},
		"nothing":          {nil, testPassphrase, "backup: this is no backup of wgfleet"},
	} {
		status, answer := next.restore(t, tt.file, tt.passphrase)
		require.Equal(t, http.StatusUnprocessableEntity, status, name)
		require.Contains(t, answer, tt.want, name)
		require.Empty(t, next.data(t, http.MethodGet, "/api/groups", nil), name)
		require.NoDirExists(t, filepath.Join(dir, "panel.restoring"), name)
	}
	var newer bytes.Buffer
	w, err := backup.NewWriter(&newer, testPassphrase, backup.Header{Schema: 99, SchemaName: "x", Program: "v9"})
	require.NoError(t, err)
	_, err = w.Close()
	require.NoError(t, err)
	status, answer := next.restore(t, newer.Bytes(), testPassphrase)
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, answer, "the backup of v9 has schema 99, this program knows 1: restore it with that one")

	status, answer = old.restore(t, file, testPassphrase)
	require.Equal(t, http.StatusConflict, status)
	require.Contains(t, answer, `"code":"not_empty"`)
	require.Contains(t, answer, "1 group")
	status, answer = next.restore(t, file, testPassphrase)
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, answer, sum.SHA256)
	require.NoError(t, next.stop())
}

// Those who ask meanwhile get the old panel's answer or the new one's, and never an error; what somebody makes while
// the backup comes in is not lost.
func TestRequestsDuringARestore(t *testing.T) {
	old := panelAlone(t, t.TempDir())
	group := old.id(t, "/api/groups", map[string]any{"name": "berlin"})
	file, _ := old.backup(t)
	next := panelAlone(t, t.TempDir())
	var wg sync.WaitGroup
	done := make(chan struct{})
	seen := make([]map[int]int, 4)
	for i := range seen {
		seen[i] = map[int]int{}
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				status, text := next.call(t, http.MethodGet, "/api/groups", "", nil)
				if status == http.StatusOK {
					var e struct{ Data []any }
					if json.Unmarshal(text, &e) == nil {
						seen[i][len(e.Data)]++
						continue
					}
				}
				seen[i][-status]++
			}
		})
	}
	status, answer := next.restore(t, file, testPassphrase)
	require.Equal(t, http.StatusOK, status, answer)
	require.Len(t, next.data(t, http.MethodGet, "/api/groups", nil), 1)
	close(done)
	wg.Wait()
	all := map[int]int{}
	for _, one := range seen {
		for k, v := range one {
			all[k] += v
		}
	}
	require.Subset(t, []int{0, 1}, slices.Collect(maps.Keys(all)), all)
	require.Positive(t, all[0], "some asked before")
	require.NotEmpty(t, group)

	// The file comes in slowly, and somebody makes a group meanwhile.
	third := panelAlone(t, t.TempDir())
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	half, made := make(chan struct{}), make(chan struct{})
	go func() {
		err := form.WriteField("passphrase", testPassphrase)
		part, perr := form.CreateFormFile("backup", "file")
		if err = errors.Join(err, perr); err == nil {
			_, err = part.Write(file[:len(file)-10])
			close(half)
			<-made
			_, werr := part.Write(file[len(file)-10:])
			err = errors.Join(err, werr, form.Close())
		}
		w.CloseWithError(err)
	}()
	wg.Go(func() {
		status, answer = third.upload(t, form.FormDataContentType(), r)
	})
	<-half
	third.id(t, "/api/groups", map[string]any{"name": "made meanwhile"})
	close(made)
	wg.Wait()
	require.Equal(t, http.StatusConflict, status, answer)
	list, _ := third.data(t, http.MethodGet, "/api/groups", nil).([]any)
	require.Len(t, list, 1)
	require.Equal(t, "made meanwhile", list[0].(map[string]any)["name"])
	require.NoError(t, third.stop())
}
