package originaltest

import (
	"cmp"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Peer is what the original keeps of one peer.
type Peer struct {
	PresharedKey string
	AllowedIPs   []string // canonical
	Keepalive    int
}

// Agent is the original agent of one interface, wg0.
type Agent struct {
	secret  agent.Secret
	private engine.SecretKey

	mu     sync.Mutex // protects what follows
	peers  map[string]Peer
	writes int
}

// New returns an agent without peers.
func New(secret agent.Secret, private engine.SecretKey) *Agent {
	return &Agent{secret: secret, private: private, peers: make(map[string]Peer)}
}

// Peers returns a copy of what the device holds.
func (a *Agent) Peers() map[string]Peer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.peers)
}

// Writes counts requests that change something.
func (a *Agent) Writes() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes
}

// Set is somebody else's change, as of wg(8).
func (a *Agent) Set(key string, p Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peers[key] = p
}

// Remove is somebody else's change.
func (a *Agent) Remove(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.peers, key)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck,errchkjson // the client has gone; a test fails on what it reads
}

// ServeHTTP answers one request. The path is decoded before it is routed, as starlette does, so
// that no key with a slash is found.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health" && r.Method == http.MethodGet {
		answer(w, http.StatusOK, map[string]any{"status": "ok", "timestamp": time.Now().Unix(), "uptime": 1, "version": "2.2.0"})
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if why := a.refuse(r, body); why != "" {
		answer(w, http.StatusUnauthorized, map[string]string{"error": why})
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	const peers = "/v1/wg/wg0/peers"
	key, ofPeer := strings.CutPrefix(r.URL.Path, peers+"/")
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/v1/wg/wg0/dump":
		answer(w, http.StatusOK, a.dumpLocked())
	case r.Method == http.MethodGet && r.URL.Path == "/v1/wg/wg0/config":
		answer(w, http.StatusOK, a.config())
	case r.Method == http.MethodPost && r.URL.Path == peers:
		a.postLocked(w, body)
	case ofPeer && r.Method == http.MethodPut && !strings.Contains(key, "/"):
		a.putLocked(w, key, body)
	case ofPeer && r.Method == http.MethodDelete && !strings.Contains(key, "/"):
		a.writes++
		delete(a.peers, key)
		answer(w, http.StatusOK, map[string]string{"status": "success", "message": "Peer removed successfully"})
	case strings.HasPrefix(r.URL.Path, "/v1/wg/") && strings.HasSuffix(r.URL.Path, "/dump"):
		answer(w, http.StatusInternalServerError, map[string]string{"error": "WireGuard command failed: Unable to access interface: No such device\n"})
	default:
		answer(w, http.StatusNotFound, map[string]string{"detail": "Not Found"})
	}
}

func (a *Agent) refuse(r *http.Request, body []byte) string {
	stamp, signature := r.Header.Get(agent.HeaderTimestamp), r.Header.Get(agent.HeaderSignature)
	if stamp == "" || signature == "" {
		return "Missing X-Signature or X-Timestamp header"
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return "Invalid timestamp"
	}
	if off := time.Since(time.Unix(seconds, 0)).Abs(); off > 300*time.Second {
		return "Request timestamp too old"
	}
	if a.secret.SignV1(agent.Request{Method: r.Method, Target: r.URL.Path, Body: body, Timestamp: stamp}) != signature {
		return "Invalid signature"
	}
	return ""
}

func (a *Agent) dumpLocked() map[string]any {
	list := []map[string]any{}
	for key, p := range a.peers {
		ips := p.AllowedIPs
		if len(ips) == 0 {
			ips = []string{"(none)"}
		}
		var psk any
		if p.PresharedKey != "" {
			psk = p.PresharedKey
		}
		list = append(list, map[string]any{
			"public_key": key, "preshared_key": psk, "endpoint": nil, "allowed_ips": ips, "latest_handshake": nil,
			"transfer_rx": 0, "transfer_tx": 0, "persistent_keepalive": p.Keepalive,
		})
	}
	return map[string]any{"interface": "wg0", "peers": list}
}

func (a *Agent) config() map[string]any {
	key := a.private.Reveal().String()
	return map[string]any{"interface": "wg0", "config": map[string]any{
		"private_key": key, "listen_port": 51820, "address": "fd00:8::1/64", "post_up": nil, "pre_down": nil, "mtu": nil, "dns": nil, "table": nil,
		"raw_config": "[Interface]\nPrivateKey = " + key + "\nAddress = 10.8.0.1/24\nAddress = fd00:8::1/64\nListenPort = 51820\n",
	}}
}

// giveLocked sets the allowed IPs: each leaves whoever had it, in silence.
func (a *Agent) giveLocked(p *Peer, texts []string) error {
	ips := []string{}
	for _, text := range texts {
		if text == "" {
			continue
		}
		ip, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		ips = append(ips, ip.Masked().String())
	}
	for key, other := range a.peers {
		other.AllowedIPs = slices.DeleteFunc(slices.Clone(other.AllowedIPs), func(ip string) bool { return slices.Contains(ips, ip) })
		a.peers[key] = other
	}
	p.AllowedIPs = ips
	return nil
}

// postLocked is an upsert that keeps the old value where it is given 0, "" or [].
func (a *Agent) postLocked(w http.ResponseWriter, body []byte) {
	a.writes++
	var in agent.PeerBody
	if json.Unmarshal(body, &in) != nil || in.PublicKey == "" {
		answer(w, http.StatusInternalServerError, map[string]string{"error": "Failed to add peer: Key is not the correct length or format: `'\n"})
		return
	}
	p := a.peers[in.PublicKey]
	if in.AllowedIPs != nil && len(*in.AllowedIPs) > 0 {
		if err := a.giveLocked(&p, *in.AllowedIPs); err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": "Failed to add peer: " + err.Error()})
			return
		}
	}
	if in.PresharedKey != nil {
		p.PresharedKey = cmp.Or(*in.PresharedKey, p.PresharedKey)
	}
	if in.PersistentKeepalive != nil {
		p.Keepalive = cmp.Or(*in.PersistentKeepalive, p.Keepalive)
	}
	a.peers[in.PublicKey] = p
	answer(w, http.StatusOK, map[string]any{
		"status": "success", "message": "Peer added successfully",
		"peer": map[string]any{"public_key": in.PublicKey, "allowed_ips": in.AllowedIPs},
	})
}

// putLocked clears what is given as 0 or [], makes peers that are not there, and knows no preshared
// key.
func (a *Agent) putLocked(w http.ResponseWriter, key string, body []byte) {
	a.writes++
	var in agent.PeerBody
	if json.Unmarshal(body, &in) != nil {
		answer(w, http.StatusUnprocessableEntity, map[string]any{"detail": []any{}})
		return
	}
	p := a.peers[key]
	if in.AllowedIPs != nil {
		if err := a.giveLocked(&p, *in.AllowedIPs); err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": "Failed to update peer: " + err.Error()})
			return
		}
	}
	if in.PersistentKeepalive != nil {
		p.Keepalive = *in.PersistentKeepalive
	}
	a.peers[key] = p
	answer(w, http.StatusOK, map[string]string{"status": "success", "message": "Peer updated successfully"})
}
