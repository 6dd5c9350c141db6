package contract

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestApply(t *testing.T) {
	n := newNode(t).start()
	apply := func(body map[string]any) response { t.Helper(); return n.send("POST", "/v1/wg/wg0/apply", body) }
	first := "FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ="
	put := func(k string, ips []string, more ...string) map[string]any {
		c := map[string]any{"op": "put", "public_key": k, "allowed_ips": ips}
		if len(more) > 0 {
			c["take_from"] = more[0]
		}
		return c
	}
	changes := func(c ...map[string]any) map[string]any { return map[string]any{"changes": c} }

	dry := changes(put(key("a"), []string{"10.8.0.3/32"}))
	dry["dry_run"] = true
	r := apply(dry)
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, []any{key("a")}, r.json(t)["added"])
	require.Len(t, n.peers(), 1, "a dry run changes nothing")

	r = apply(changes(put(key("a"), []string{"10.8.0.2/32"})))
	require.Equal(t, 409, r.status)
	require.Equal(t, "allowed_ip_taken", r.code())
	require.Contains(t, r.body, first, "the holder is named")
	r = apply(changes(put(key("a"), []string{"10.8.0.2/32"}, first)))
	require.Equal(t, 200, r.status, r.body)
	require.Equal(t, []string{"10.8.0.2/32"}, n.peers()[key("a")].AllowedIPs)
	require.Empty(t, n.peers()[first].AllowedIPs, "the prefix moved in the same step")

	var four []map[string]any
	for i := range 4 {
		four = append(four, map[string]any{"public_key": key(strconv.Itoa(i)), "allowed_ips": []string{fmt.Sprintf("10.8.1.%d/32", i)}})
	}
	r = apply(map[string]any{"peers": four})
	require.Equal(t, 200, r.status, r.body)
	require.Len(t, n.peers(), 6, "unknown peers are kept")
	v := r.json(t)
	require.NotEqual(t, v["before"], v["after"])
	again := apply(map[string]any{"peers": four}).json(t)
	require.Equal(t, again["before"], again["after"])
	require.Empty(t, again["updated"])

	r = apply(map[string]any{"peers": four[:1], "remove_unknown": true})
	require.Equal(t, 409, r.status, "more than half of the peers")
	require.Equal(t, "mass_removal", r.code())
	r = apply(map[string]any{"peers": []any{}, "remove_unknown": true, "allow_mass_removal": true})
	require.Equal(t, 409, r.status, "an empty list")
	r = apply(map[string]any{"peers": four, "remove_unknown": true, "expect": strings.Repeat("0", 64)})
	require.Equal(t, 412, r.status)
	require.Len(t, n.peers(), 6)
	r = apply(map[string]any{"peers": four[:1], "remove_unknown": true, "allow_mass_removal": true})
	require.Equal(t, 200, r.status, r.body)
	require.Len(t, n.peers(), 1)

	r = apply(changes(put(key("good"), []string{"10.8.2.1/32"}), put(key("bad"), []string{"10.8.2.2/99"})))
	require.Equal(t, 422, r.status, "all or nothing")
	require.Len(t, n.peers(), 1)
}

func TestSyncconf(t *testing.T) {
	n := newNode(t).start()
	sync := func(text string, more ...string) response {
		t.Helper()
		body := map[string]any{"config": base64.StdEncoding.EncodeToString([]byte(text))}
		for _, m := range more {
			body[m] = true
		}
		return n.send("POST", "/v1/wg/wg0/syncconf", body)
	}
	public := n.get("/v1/wg").interfaces(t)["wg0"]["public_key"]
	k, psk := key("s"), key("psk")
	r := sync("[Peer]\nPublicKey = " + k + "\nPresharedKey = " + psk + "\nAllowedIPs = 10.8.0.3/32\nPersistentKeepalive = 25\n")
	require.Equal(t, 200, r.status, r.body)
	v := r.json(t)
	require.Equal(t, "success", v["status"])
	require.Equal(t, []any{k}, v["added"])
	require.Len(t, v["removed"], 1)
	require.Equal(t, public, n.get("/v1/wg").interfaces(t)["wg0"]["public_key"], "no [Interface]: the identity stays")
	require.Contains(t, readFile(t, n.file()), "cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM=")

	require.Equal(t, 200, sync("[Peer]\nPublicKey = "+k+"\nAllowedIPs = 10.8.0.3/32\n").status)
	p := n.peers()[k]
	require.Nil(t, p.PresharedKey, "a key left out means none")
	require.Zero(t, p.PersistentKeepalive)

	before := n.peers()
	for _, empty := range []string{"", "[Interface]\n"} {
		r := sync(empty)
		require.Equal(t, 409, r.status, r.body)
	}
	require.Contains(t, []int{400, 422}, sync("[Peer]\nPublicKey = "+key("x")+"\n[Peer]\nPublicKey = abc\n").status)
	require.Contains(t, []int{400, 422}, sync("[Interface]\nAddress = 10.0.0.1/24\n[Peer]\nPublicKey = "+key("x")+"\n").status)
	r = n.send("POST", "/v1/wg/wg0/syncconf", map[string]any{"config": "!!!"})
	require.Contains(t, []int{400, 422}, r.status)
	require.Equal(t, before, n.peers())
	require.Equal(t, 200, sync("", "allow_empty").status)
	require.Empty(t, n.peers())
}
