package server

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func (n *node) dump() (agent.Dump, reply) {
	n.t.Helper()
	r := n.do("GET", dumpPath, nil)
	require.Equal(n.t, 200, r.status, "%s", r.body)
	var d agent.Dump
	r.decode(n.t, &d)
	return d, r
}

func (n *node) mustDo(method, target string, body any) reply {
	n.t.Helper()
	r := n.do(method, target, body)
	require.Equal(n.t, 200, r.status, "%s", r.body)
	return r
}

const peersPath = "/v1/wg/wg0/peers"

func TestUpsert(t *testing.T) {
	n := newNode(t, withConf(t))
	psk := secretText(enginetest.PresharedKey(t))
	full := peer(1)
	full["preshared_key"], full["persistent_keepalive"] = psk, 25
	n.mustDo("POST", peersPath, full)
	n.mustDo("POST", peersPath, map[string]any{"public_key": key(1)})
	p := n.device("wg0").Peers[0]
	require.Equal(t, psk, secretText(p.PresharedKey), "what is absent stays")
	require.Equal(t, 25, p.PersistentKeepalive)
	require.Len(t, p.AllowedIPs, 1)
	n.mustDo("POST", peersPath, map[string]any{"public_key": key(1), "preshared_key": "", "persistent_keepalive": 0, "allowed_ips": []string{}})
	p = n.device("wg0").Peers[0]
	require.True(t, p.PresharedKey.IsZero(), "0, an empty text and an empty list clear")
	require.Zero(t, p.PersistentKeepalive)
	require.Empty(t, p.AllowedIPs)
	r := n.mustDo("POST", peersPath, map[string]any{"public_key": key(1), "allowed_ips": []string{" 10.0.0.7/8"}})
	require.JSONEq(t, `{"status":"success","message":"Peer added successfully","peer":{"public_key":"`+key(1)+`","allowed_ips":[" 10.0.0.7/8"]}}`, string(r.body), "the echo is what was sent")
	require.Equal(t, "10.0.0.0/8", n.device("wg0").Peers[0].AllowedIPs[0].String())
}

func TestPutAndDelete(t *testing.T) {
	n := newNode(t, withConf(t))
	require.Equal(t, agent.CodeUnknownPeer, n.do("PUT", peersPath+"/"+key(1), map[string]any{"persistent_keepalive": 5}).code(t))
	require.Empty(t, n.device("wg0").Peers)
	n.mustDo("DELETE", peersPath+"/"+key(1), nil)
	n.mustDo("POST", peersPath, peer(1))
	psk := secretText(enginetest.PresharedKey(t))
	n.mustDo("PUT", peersPath+"/"+key(1), map[string]any{"preshared_key": psk})
	require.Equal(t, psk, secretText(n.device("wg0").Peers[0].PresharedKey))
	n.mustDo("DELETE", peersPath+"/"+key(1), nil)
	require.Empty(t, n.device("wg0").Peers)
	require.Equal(t, 422, n.do("DELETE", peersPath+"/nothing", nil).status)
}

// TestKeysInPaths: half of all keys hold a slash, and each spelling names the same peer.
func TestKeysInPaths(t *testing.T) {
	n := newNode(t, withConf(t))
	k := "xVBqzALt5Lwul/A1uKKEOAwVEBG2PhUT21+7Ab8q6ts="
	raw, err := base64.StdEncoding.DecodeString(k)
	require.NoError(t, err)
	for i, spelled := range []string{
		k, url.PathEscape(k), strings.ReplaceAll(url.PathEscape(k), "+", "%2B"), strings.NewReplacer("/", "%2f", "+", "%2b").Replace(k),
		base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), k + "/",
	} {
		for _, root := range []string{"/v1/wg/wg0/peers/", "/wg/wg0/peers/"} {
			n.mustDo("POST", peersPath, map[string]any{"public_key": k})
			n.mustDo("PUT", root+spelled, map[string]any{"persistent_keepalive": i + 1})
			require.Equal(t, i+1, n.device("wg0").Peers[0].PersistentKeepalive, spelled)
			n.mustDo("DELETE", root+spelled, nil)
			require.Empty(t, n.device("wg0").Peers, spelled)
		}
	}
}

func TestAllowedIPIsNotStolen(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	thief := map[string]any{"public_key": key(2), "allowed_ips": peer(1)["allowed_ips"]}
	for _, r := range []reply{
		n.do("POST", peersPath, thief),
		n.do("POST", "/v1/wg/wg0/apply", map[string]any{"changes": []any{with(thief, "op", "put")}}),
		n.do("POST", "/v1/wg/wg0/apply", map[string]any{"peers": []any{thief}}),
		n.do("POST", "/v1/wg/wg0/apply", map[string]any{"changes": []any{with(with(thief, "op", "put"), "take_from", key(3))}}),
	} {
		require.Equal(t, 409, r.status, "%s", r.body)
		var e agent.Error
		r.decode(t, &e)
		require.Equal(t, agent.CodeAllowedIPTaken, e.Code)
		require.Equal(t, key(1), e.Holder)
	}
	require.Len(t, n.device("wg0").Peers, 1)
	n.mustDo("POST", peersPath, map[string]any{"public_key": key(2), "allowed_ips": []string{"10.0.0.0/8"}}) // nested is legal
	n.mustDo("POST", "/v1/wg/wg0/apply", map[string]any{"changes": []any{with(with(thief, "op", "put"), "take_from", key(1))}})
	first, _ := engine.Lookup(n.device("wg0").Peers, enginetest.PeerKey(1))
	second, _ := engine.Lookup(n.device("wg0").Peers, enginetest.PeerKey(2))
	require.Empty(t, first.AllowedIPs, "the prefix moved in the same step")
	require.Equal(t, thief["allowed_ips"].([]string)[0], second.AllowedIPs[0].String())
}

func with(m map[string]any, name string, value any) map[string]any {
	out := map[string]any{name: value}
	for k, v := range m {
		if k != name {
			out[k] = v
		}
	}
	return out
}

func TestOwnKeyIsNoPeer(t *testing.T) {
	n := newNode(t, withConf(t))
	own := n.device("wg0").Interface.PrivateKey.PublicKey().String()
	require.Equal(t, 422, n.do("POST", peersPath, map[string]any{"public_key": own}).status)
	require.Equal(t, 422, n.do("POST", "/v1/wg/wg0/apply", map[string]any{"peers": []any{map[string]any{"public_key": own}}}).status)
	require.Equal(t, 422, n.do("POST", "/v1/wg/wg0/syncconf", confBody("[Peer]\nPublicKey = "+own+"\n")).status)
	require.Empty(t, n.device("wg0").Peers)
}

func confBody(conf string) map[string]any {
	return map[string]any{"config": base64.StdEncoding.EncodeToString([]byte(conf))}
}

func TestIfMatch(t *testing.T) {
	n := newNode(t, withConf(t))
	_, r := n.dump()
	tag := r.header.Get("ETag")
	n.mustDo("POST", peersPath, peer(1))
	for _, w := range []struct {
		method, target string
		body           any
	}{
		{"POST", peersPath, peer(2)},
		{"PUT", peersPath + "/" + key(1), map[string]any{"persistent_keepalive": 5}},
		{"DELETE", peersPath + "/" + key(1), nil},
		{"POST", "/v1/wg/wg0/apply", map[string]any{"peers": []any{peer(2)}}},
		{"POST", "/v1/wg/wg0/syncconf", confBody("[Peer]\nPublicKey = " + key(3) + "\n")},
		{"PUT", "/v1/wg/wg0/config", map[string]any{"listen_port": 1234}},
		{"POST", "/v1/wg/wg0/disable", nil},
		{"POST", "/v1/wg/wg0/enable", nil},
		{"DELETE", "/v1/wg/wg0", nil},
	} {
		before, conf := n.device("wg0"), n.conf("wg0")
		r := n.do(w.method, w.target, w.body, header("If-Match", tag))
		require.Equal(t, agent.CodePrecondition, r.code(t), "%s %s", w.method, w.target)
		require.Equal(t, before, n.device("wg0"))
		require.Equal(t, conf, n.conf("wg0"))
	}
	require.Equal(t, agent.CodePrecondition, n.do("POST", "/v1/wg/wg0/apply", map[string]any{"peers": []any{}, "expect": strings.Trim(tag, `"`)}).code(t))
	_, r = n.dump()
	require.Equal(t, 200, n.do("POST", peersPath, peer(2), header("If-Match", `"x", `+r.header.Get("ETag"))).status)
}

// TestDigests: both digests are those that the engine computes of what the device holds.
func TestDigests(t *testing.T) {
	n := newNode(t, withConf(t))
	mac := engine.DeriveMACKey([]byte(n.o.Secret))
	check := func() {
		t.Helper()
		_, r := n.dump()
		s := n.device("wg0")
		require.Equal(t, `"`+engine.Digest(s.Peers, mac)+`"`, r.header.Get("ETag"))
		require.Equal(t, engine.InterfaceDigest(s.Interface), r.header.Get(agent.HeaderInterfaceDigest))
		same := n.do("GET", dumpPath, nil, header("If-None-Match", r.header.Get("ETag")))
		require.Equal(t, 304, same.status)
		require.Equal(t, r.header.Get("ETag"), same.header.Get("ETag"))
		require.Equal(t, r.header.Get(agent.HeaderInterfaceDigest), same.header.Get(agent.HeaderInterfaceDigest))
		require.Equal(t, 200, n.do("GET", dumpPath, nil, header("If-None-Match", `"other"`)).status)
	}
	check()
	with1 := peer(1)
	with1["preshared_key"] = secretText(enginetest.PresharedKey(t))
	n.mustDo("POST", peersPath, with1)
	check()
	d, _ := n.dump()
	require.Equal(t, mac.MAC(n.device("wg0").Peers[0].PresharedKey), *d.Peers[0].PresharedKeyMAC)
	n.mustDo("POST", peersPath, peer(2))
	check()
	n.mustDo("DELETE", peersPath+"/"+key(1), nil)
	check()
	n.mustDo("PUT", "/v1/wg/wg0/config", map[string]any{"listen_port": 4321})
	check()
	fake, err := n.o.Backend.(*enginetest.Fake).Device("wg0")
	require.NoError(t, err)
	other := enginetest.Peers(9)[3]
	require.NoError(t, fake.Write(engine.Changes{Peers: []engine.PeerChange{{After: &other}}}), "somebody else, as wg(8) would")
	check()
}
