package contract

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func agentID(t *testing.T, n *node) string {
	t.Helper()
	id, _ := n.do(request{method: "GET", target: "/health", version: -1}).json(t)["agent_id"].(string)
	require.Regexp(t, `^[0-9a-f]{32}$`, id)
	return id
}

func TestSignaturesV1(t *testing.T) {
	n := newNode(t).start()
	now := time.Now().Unix()
	encoded := "/v1/wg/%77g0/dump"
	for name, c := range map[string]struct {
		r      request
		status int
	}{
		"plain":                 {request{method: "GET", target: "/v1/wg/wg0/dump"}, 200},
		"the undecoded path":    {request{method: "GET", target: encoded}, 200},
		"the decoded path":      {request{method: "GET", target: encoded, signPath: "/v1/wg/wg0/dump"}, 200},
		"another path":          {request{method: "GET", target: encoded, signPath: "/v1/wg/wg1/dump"}, 401},
		"the query is unsigned": {request{method: "GET", target: "/v1/wg/wg0/dump?a=1"}, 200},
		"old":                   {request{method: "GET", target: "/v1/wg/wg0/dump", stamp: now - 310}, 401},
		"ahead":                 {request{method: "GET", target: "/v1/wg/wg0/dump", stamp: now + 310}, 401},
		"nearly old":            {request{method: "GET", target: "/v1/wg/wg0/dump", stamp: now - 290}, 200},
		"wrong secret":          {request{method: "GET", target: "/v1/wg/wg0/dump", secret: "another"}, 401},
		"unsigned":              {request{method: "GET", target: "/v1/wg/wg0/dump", version: -1}, 401},
		"401 comes before 404":  {request{method: "GET", target: "/nope", version: -1}, 401},
		"401 comes before 405":  {request{method: "PATCH", target: "/v1/wg/wg0/dump", version: -1}, 401},
		"404":                   {request{method: "GET", target: "/nope"}, 404},
		"405":                   {request{method: "PATCH", target: "/v1/wg/wg0/dump"}, 405},
		"a bar in the target":   {request{method: "GET", target: "/v1/wg/wg0/dump?a|b"}, 400},
		"a Host that lies":      {request{method: "GET", target: "/v1/wg/wg0/config", version: -1, header: map[string]string{"Host": "x/health?"}}, 401},
		"health is open":        {request{method: "GET", target: "/health", version: -1}, 200},
		"so is its other name":  {request{method: "GET", target: "/v1/health", version: -1}, 200},
		"the example's names":   {request{method: "GET", target: "/wg/wg0/dump"}, 200},
		"a trailing slash":      {request{method: "GET", target: "/v1/wg/wg0/dump/"}, 200},
		"a path is not cleaned": {request{method: "GET", target: "/v1/x/../wg/wg0/dump"}, 404},
	} {
		t.Run(name, func(t *testing.T) {
			r := n.do(c.r)
			require.Equal(t, c.status, r.status, r.body)
			if c.status == 401 {
				require.NotEmpty(t, r.json(t)["error"])
				require.NotEmpty(t, r.header.Get("Date"))
			}
			if c.status == 405 {
				require.Equal(t, "GET", r.header.Get("Allow"))
				require.Equal(t, "Method Not Allowed", r.json(t)["detail"])
			}
		})
	}
}

func TestSignaturesV2(t *testing.T) {
	n := newNode(t).start()
	now := time.Now().Unix()
	id := agentID(t, n)
	dump := func(r request) response {
		r.method, r.target, r.version = "GET", "/v1/wg/wg0/dump?x=1", 2
		return n.do(r)
	}
	answered := func(r response) {
		t.Helper()
		want := mac(secret, strings.Join([]string{
			"wgfleet-answer", strconv.Itoa(r.status), r.nonce, r.header.Get("ETag"),
			r.header.Get("X-Interface-Digest"), sum(r.body),
		}, "|"))
		require.Equal(t, want, r.header.Get("X-Response-Signature"), "status %d %s", r.status, r.body)
	}

	r := dump(request{}) // an empty node is accepted until the first named request
	require.Equal(t, 200, r.status, r.body)
	answered(r)
	r = dump(request{node: id})
	require.Equal(t, 200, r.status, r.body)
	answered(r)
	r = dump(request{})
	require.Equal(t, 401, r.status, "an empty node after a named request")
	answered(r)
	r = dump(request{node: strings.Repeat("0", 32)})
	require.Equal(t, 401, r.status)
	require.Equal(t, "wrong_node", r.code())
	answered(r)

	nonce := newNonce()
	require.Equal(t, 401, dump(request{node: id, nonce: nonce, signature: strings.Repeat("0", 64)}).status)
	require.Equal(t, 200, dump(request{node: id, nonce: nonce}).status, "a nonce is spent by a valid signature only")
	r = dump(request{node: id, nonce: nonce})
	require.Equal(t, 401, r.status, "a nonce is good once")
	answered(r)

	for _, bad := range []string{"short", strings.Repeat("a", 21), strings.Repeat("a", 87), strings.Repeat("a", 22) + "=", strings.Repeat("a", 22) + "+"} {
		require.Equal(t, 401, dump(request{node: id, nonce: bad}).status, bad)
	}
	require.Equal(t, 200, dump(request{node: id, nonce: strings.Repeat("b", 86)}).status)
	require.Equal(t, 401, dump(request{node: id, stamp: now + 60}).status, "30 s ahead at most")
	require.Equal(t, 401, dump(request{node: id, stamp: now - 100}).status, "not before the agent's start")
	v1 := n.do(request{method: "GET", target: "/v1/wg/wg0/dump", header: map[string]string{"X-Nonce": newNonce()}})
	require.Equal(t, 401, v1.status, "where a nonce is present only v2 is tried")

	r = n.do(request{method: "GET", target: "/nope", version: 2, node: id})
	require.Equal(t, 404, r.status)
	answered(r)
}

func TestRequireNonceAndRotation(t *testing.T) {
	n := newNode(t, "WG_AGENT_REQUIRE_NONCE=true", "WG_AGENT_SECRET_PREVIOUS=the-secret-before-this-one").start()
	require.Equal(t, 401, n.get("/v1/wg/wg0/dump").status)
	require.Equal(t, 200, n.do(request{method: "GET", target: "/v1/wg/wg0/dump", version: 2}).status)
	require.Equal(t, 200, n.do(request{method: "GET", target: "/v1/wg/wg0/dump", version: 2, secret: "the-secret-before-this-one"}).status)
}

func TestBodyLimits(t *testing.T) {
	n := newNode(t).start()
	r := n.send("POST", "/v1/wg/wg0/peers", strings.Repeat(" ", 8<<20+1))
	require.Equal(t, 413, r.status)
	require.Equal(t, "body_too_large", r.code())

	// Without signature headers the answer comes before the body was sent.
	c, err := net.Dial("tcp", strings.TrimPrefix(n.AgentURL, "http://"))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	fmt.Fprintf(c, "POST /v1/wg/wg0/peers HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
	b := make([]byte, 12)
	_, err = c.Read(b)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 401", string(b))
}

func TestPeersUpsert(t *testing.T) {
	n := newNode(t).start()
	k, psk := keyWith("/"), key("psk")
	add := func(body map[string]any) {
		t.Helper()
		body["public_key"] = k
		r := n.send("POST", "/v1/wg/wg0/peers", body)
		require.Equal(t, 200, r.status, r.body)
	}
	add(map[string]any{"allowed_ips": []string{"10.8.5.77/24", "FD00:8::4"}, "preshared_key": psk, "persistent_keepalive": 25})
	p := n.peers()[k]
	require.Equal(t, []string{"10.8.5.0/24", "fd00:8::4/128"}, p.AllowedIPs, "canonical")
	require.Equal(t, 25, p.PersistentKeepalive)
	require.Equal(t, psk, *p.PresharedKey, "loopback is secure")
	require.Equal(t, pskMAC(psk), *p.PresharedKeyMAC)
	add(map[string]any{}) // absent fields keep their value
	require.Equal(t, p, n.peers()[k])
	add(map[string]any{"persistent_keepalive": 0, "preshared_key": "", "allowed_ips": []string{}})
	p = n.peers()[k]
	require.Empty(t, p.AllowedIPs)
	require.Zero(t, p.PersistentKeepalive)
	require.Nil(t, p.PresharedKey)
	require.Nil(t, p.PresharedKeyMAC)

	for i, path := range []string{k, url.PathEscape(k), strings.NewReplacer("+", "-", "/", "_").Replace(k)} {
		r := n.send("PUT", "/v1/wg/wg0/peers/"+path, map[string]any{"persistent_keepalive": i + 1})
		require.Equal(t, 200, r.status, path+r.body)
		require.Equal(t, i+1, n.peers()[k].PersistentKeepalive)
	}
	r := n.send("PUT", "/v1/wg/wg0/peers/"+key("nobody"), map[string]any{})
	require.Equal(t, 404, r.status)
	require.Equal(t, "unknown_peer", r.code())
	require.Equal(t, 200, n.do(request{method: "DELETE", target: "/v1/wg/wg0/peers/" + key("nobody")}).status)
	require.Equal(t, 200, n.do(request{method: "DELETE", target: "/v1/wg/wg0/peers/" + k}).status)
	require.NotContains(t, n.peers(), k)
}

func TestBadInputChangesNothing(t *testing.T) {
	n := newNode(t).start()
	before, file := n.peers(), readFile(t, n.file())
	k := key("bad")
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"malformed key":   {`{"public_key":"abc"}`, 422},
		"no key":          {`{}`, 422},
		"mask":            {`{"public_key":"` + k + `","allowed_ips":["10.8.0.9/33"]}`, 422},
		"address":         {`{"public_key":"` + k + `","allowed_ips":["x"]}`, 422},
		"one bad of two":  {`{"public_key":"` + k + `","allowed_ips":["10.9.0.1/32","bad"]}`, 422},
		"taken":           {`{"public_key":"` + k + `","allowed_ips":["10.8.0.2/32"]}`, 409},
		"keepalive 65536": {`{"public_key":"` + k + `","persistent_keepalive":65536}`, 422},
		"keepalive -1":    {`{"public_key":"` + k + `","persistent_keepalive":-1}`, 422},
		"keepalive off":   {`{"public_key":"` + k + `","persistent_keepalive":"off"}`, 422},
		"preshared key":   {`{"public_key":"` + k + `","preshared_key":"abc"}`, 422},
		"hidden text":     {`{"public_key":"` + k + `","preshared_key":"(hidden)"}`, 422},
		"a list":          {`[]`, 422},
		"torn":            {`{"public_key":`, 400},
	} {
		t.Run(name, func(t *testing.T) {
			r := n.send("POST", "/v1/wg/wg0/peers", c.body)
			require.Equal(t, c.status, r.status, r.body)
			v := r.json(t)
			require.NotEmpty(t, v["error"])
			require.NotEmpty(t, v["code"])
			if c.status == 422 {
				require.NotEmpty(t, v["detail"])
			}
		})
	}
	require.Equal(t, before, n.peers())
	require.Equal(t, file, readFile(t, n.file()))
}

func TestInterfaceNames(t *testing.T) {
	n := newNode(t).start()
	for _, name := range []string{"wg9", "lo"} { // good names that nobody has on netstack
		require.Equal(t, "unknown_interface", n.get("/v1/wg/"+name+"/dump").code())
	}
	for _, name := range []string{"%2e%2e", "..", "all", "default", "interfaces", "help", "-h", "abcdefghijklmnop", "wg%200", "a%2Fb", "wg0%00", "..%2F..%2Ftmp"} {
		r := n.do(request{method: "GET", target: "/v1/wg/" + name + "/dump"})
		require.Contains(t, []int{404, 422}, r.status, name)
		r = n.send("PUT", "/v1/wg/"+name+"/config", map[string]any{"private_key": key("private")})
		require.Contains(t, []int{404, 422}, r.status, name+r.body)
	}
	entries, err := os.ReadDir(n.conf)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no file but wg0.conf")
}

func TestDigests(t *testing.T) {
	n := newNode(t).start()
	psk := key("psk")
	require.Equal(t, 200, n.send("POST", "/v1/wg/wg0/peers", map[string]any{
		"public_key": key("d"), "preshared_key": psk,
		"allowed_ips": []string{"fd00:8::4/128", "10.8.0.9/32", "10.8.0.10/32"}, "persistent_keepalive": 9,
	}).status)
	want := digest(n.peers(), func(p dumpPeer) string {
		if p.PresharedKey == nil {
			return ""
		}
		return pskMAC(*p.PresharedKey)
	})
	r := n.get("/v1/wg/wg0/dump")
	require.Equal(t, `"`+want+`"`, r.header.Get("ETag"))

	list := n.get("/v1/wg").interfaces(t)
	i := list["wg0"]
	require.Equal(t, want, i["digest"])
	mtu, port := int(i["mtu"].(float64)), int(i["listen_port"].(float64))
	iface := sum(fmt.Sprintf("public_key\t%s\nlisten_port\t%d\nfwmark\t0\naddresses\t10.8.0.1/24\nmtu\t%d\n", i["public_key"], port, mtu))
	require.Equal(t, iface, r.header.Get("X-Interface-Digest"))

	clean := n.do(request{method: "GET", target: "/v1/wg/wg0/dump", header: map[string]string{"If-None-Match": `"` + want + `"`}})
	require.Equal(t, 304, clean.status)
	require.Empty(t, clean.body)
	require.Equal(t, iface, clean.header.Get("X-Interface-Digest"))
	require.Equal(t, `"`+want+`"`, clean.header.Get("ETag"))

	moved := n.do(request{
		method: "POST", target: "/v1/wg/wg0/peers", body: `{"public_key":"` + key("late") + `"}`,
		header: map[string]string{"If-Match": `"` + strings.Repeat("0", 64) + `"`},
	})
	require.Equal(t, 412, moved.status)
	require.Equal(t, "precondition_failed", moved.code())
	require.NotContains(t, n.peers(), key("late"))

	held := make(chan response, 1)
	go func() {
		held <- n.do(request{method: "GET", target: "/v1/wg/wg0/dump", header: map[string]string{"If-None-Match": `"` + want + `"`, "Prefer": "wait=60"}})
	}()
	require.Equal(t, 200, n.send("POST", "/v1/wg/wg0/peers", map[string]any{"public_key": key("change")}).status)
	select {
	case r := <-held:
		require.Equal(t, 200, r.status, "a held request answers as soon as the digest changes")
		require.Contains(t, r.body, key("change"))
	case <-time.After(30 * time.Second):
		t.Fatal("a held request did not answer after a change")
	}
}

func TestTheHostsFileAndTheLastGoodState(t *testing.T) {
	n := newNode(t).start()
	before, err := os.Stat(n.file())
	require.NoError(t, err)
	same := n.send("POST", "/v1/wg/wg0/peers", map[string]any{"public_key": "FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=", "allowed_ips": []string{"10.8.0.2/32"}})
	require.Equal(t, 200, same.status)
	after, err := os.Stat(n.file())
	require.NoError(t, err)
	require.Equal(t, before.ModTime(), after.ModTime(), "written only when something changed")
	require.Equal(t, wg0, readFile(t, n.file()))

	require.Equal(t, 200, n.send("POST", "/v1/wg/wg0/peers", map[string]any{"public_key": key("new"), "allowed_ips": []string{"10.8.0.3/32"}, "persistent_keepalive": 7}).status)
	text := readFile(t, n.file())
	require.True(t, strings.HasPrefix(text, wg0), "comments, order and spacing stay:\n%s", text)
	require.Contains(t, text, key("new"))

	want, id := n.peers(), agentID(t, n)
	n.Kill()
	n.start()
	require.Equal(t, want, n.peers(), "after a power cut")
	require.Equal(t, id, agentID(t, n))
	require.Equal(t, 0, n.Stop(), n.Log.String())
	n.start()
	require.Equal(t, want, n.peers(), "after a stop")
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}
