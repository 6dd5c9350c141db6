package contract

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHiddenSecrets(t *testing.T) {
	private, psk := "cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM=", key("psk")
	shows := func(n *node, header map[string]string) string {
		config := n.do(request{method: "GET", target: "/v1/wg/wg0/config", header: header})
		dump := n.do(request{method: "GET", target: "/v1/wg/wg0/dump", header: header})
		require.Equal(t, 200, config.status)
		require.Contains(t, dump.body, pskMAC(psk))
		return config.body + dump.body
	}
	add := func(n *node) {
		t.Helper()
		require.Equal(t, 200, n.send("POST", "/v1/wg/wg0/peers", map[string]any{"public_key": key("p"), "preshared_key": psk}).status)
	}
	n := newNode(t).start()
	add(n)
	text := shows(n, nil)
	require.Contains(t, text, private, "loopback is secure")
	require.Contains(t, text, psk)
	text = shows(n, map[string]string{"X-Forwarded-For": "192.0.2.1"})
	require.NotContains(t, text, private, "a forwarding header came: not loopback")
	require.NotContains(t, text, psk)
	require.Contains(t, text, "(hidden)")
	for _, body := range []string{`{"private_key":"(hidden)"}`, `{"address":"(hidden)"}`, `{"post_up":"(hidden)"}`} {
		require.Contains(t, []int{403, 422}, n.send("PUT", "/v1/wg/wg0/config", body).status, body)
	}

	never := newNode(t, "WG_AGENT_EXPOSE_SECRETS=never").start()
	add(never)
	text = shows(never, nil)
	require.NotContains(t, text, private)
	require.NotContains(t, text, psk)
	for _, n := range []*node{n, never} {
		for _, secret := range []string{private, psk, secret} {
			require.NotContains(t, n.Log.String(), secret, "a secret in the log")
		}
	}
}

func TestConfig(t *testing.T) {
	n := newNode(t).start()
	put := func(name, body string) response { t.Helper(); return n.send("PUT", "/v1/wg/"+name+"/config", body) }
	require.Equal(t, 422, put("wg1", `{"address":"10.9.0.1/24"}`).status, "a new interface needs a private key")
	r := put("wg1", `{"private_key":"`+key("private")+`","address":"10.9.0.1/24","mtu":1400}`)
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, false, r.json(t)["reloaded"])
	require.Equal(t, false, n.get("/v1/wg").interfaces(t)["wg1"]["up"])
	r = n.do(request{method: "POST", target: "/v1/wg/wg1/enable"})
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, true, r.json(t)["was_down"])
	require.Equal(t, true, n.get("/v1/wg").interfaces(t)["wg1"]["up"])
	public := n.get("/v1/wg").interfaces(t)["wg1"]["public_key"]

	require.Equal(t, 200, put("wg1", `{"mtu":1380,"address":null}`).status, "absent and null stay")
	i := n.get("/v1/wg").interfaces(t)["wg1"]
	require.Equal(t, public, i["public_key"])
	require.EqualValues(t, 1380, i["mtu"])
	require.Equal(t, []any{"10.9.0.1/24"}, i["addresses"])

	was := readFile(t, n.conf+"/wg1.conf")
	for _, bad := range []string{
		`{"address":"nonsense"}`, `{"mtu":1}`, `{"listen_port":70000}`, `{"listen_port":-1}`, `{"private_key":"abc"}`,
		`{"address":"10.9.0.1/24\nPostUp = touch /tmp/pwned"}`, `{"dns":"1.1.1.1\nPostUp = x"}`, `{"table":"x\ny"}`,
	} {
		require.Equal(t, 422, put("wg1", bad).status, bad)
	}
	r = put("wg1", `{"post_up":"touch /tmp/never"}`)
	require.Equal(t, 403, r.status, r.body)
	require.Equal(t, "hook_refused", r.code())
	require.Equal(t, was, readFile(t, n.conf+"/wg1.conf"))
	require.Equal(t, i, n.get("/v1/wg").interfaces(t)["wg1"])

	info, err := os.Stat(n.conf + "/wg1.conf")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	r = n.do(request{method: "POST", target: "/v1/wg/wg1/disable"})
	require.Equal(t, true, r.json(t)["was_up"], r.body)
	require.Equal(t, 200, n.do(request{method: "DELETE", target: "/v1/wg/wg1"}).status)
	_, err = os.Stat(n.conf + "/wg1.conf")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, 404, n.get("/v1/wg/wg1/config").status)
}
