package contract

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

// kills is how often the agent dies.
const kills = 200

// writer changes peers of its own, one after the other. What was acknowledged it knows; of the one
// write that the kill interrupted it knows what may be there.
type writer struct {
	id    int
	peers map[string]dumpPeer // acknowledged
	done  map[string]dumpPeer // what the interrupted write would have led to; nil: none was
}

// TestKilledAtAnyMoment kills the agent with SIGKILL at random moments while four writers change
// peers and the interface. Whatever it was doing: the host's file is whole, the next start finds it
// and the last good state in agreement, the device is what both say, and every change that was
// acknowledged is there.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	writers := make([]*writer, 4)
	for i := range writers {
		writers[i] = &writer{id: i, peers: map[string]dumpPeer{}}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	writes := 0
	for round := range kills {
		if round%4 == 3 { // while it starts
			n.killWhileStarting(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
			n.wholeFile()
		}
		n.start()
		n.agree(writers, round)
		writes += n.writeUntilKilled(writers, random, round%2 == 0)
		n.wholeFile()
	}
	n.start()
	n.agree(writers, kills)
	require.Equal(t, 0, n.Stop())
	require.GreaterOrEqual(t, writes, kills/2)
	t.Logf("%d writes were acknowledged", writes)
}

// killWhileStarting kills a process that need not have come far.
func (n *node) killWhileStarting(after time.Duration) {
	cmd := exec.Command(binary.Path(), n.args...)
	cmd.Dir, cmd.Env = n.dir, n.env
	require.NoError(n.t, cmd.Start())
	<-time.After(after)
	cmd.Process.Kill() // it is there until Wait
	cmd.Wait()         // killed
}

// writeUntilKilled lets the writers write, and kills the agent meanwhile; where it is to be busy, not
// before it has acknowledged a write. It returns how many were acknowledged.
func (n *node) writeUntilKilled(writers []*writer, random *rand.Rand, busy bool) int {
	after := time.Duration(random.Int64N(int64(40 * time.Millisecond)))
	kill := sync.OnceFunc(func() { time.AfterFunc(after, func() { n.Cmd.Process.Kill() }) })
	if !busy {
		kill()
	}
	acknowledged := make([]int, len(writers))
	var all sync.WaitGroup
	for i, w := range writers {
		own := rand.New(rand.NewPCG(random.Uint64(), 1))
		all.Go(func() {
			for w.write(n, own) {
				acknowledged[i]++
				kill()
			}
		})
	}
	all.Wait()
	n.Cmd.Wait() // killed
	sum := 0
	for _, k := range acknowledged {
		sum += k
	}
	return sum
}

// write changes something and reports whether the agent acknowledged it.
func (w *writer) write(n *node, random *rand.Rand) bool {
	next := maps.Clone(w.peers)
	k := key(fmt.Sprintf("kill %d %d", w.id, random.IntN(6)))
	ip := fmt.Sprintf("10.8.%d.%d/32", 1+w.id, 1+random.IntN(6))
	for other, p := range next { // a prefix has one holder
		if other != k && slices.Contains(p.AllowedIPs, ip) {
			ip = p.AllowedIPs[0][:0]
		}
	}
	ips := []string{}
	if ip != "" {
		ips = append(ips, ip)
	}
	keepalive := random.IntN(100)
	var r request
	switch _, there := next[k]; {
	case there && random.IntN(3) == 0:
		delete(next, k)
		r = request{method: "DELETE", target: "/v1/wg/wg0/peers/" + k}
	case w.id == 3 && random.IntN(4) == 0: // the interface as well
		r = request{method: "PUT", target: "/v1/wg/wg0/config", body: `{"mtu": ` + strconv.Itoa(1300+random.IntN(100)) + `}`}
	default:
		next[k] = dumpPeer{PublicKey: k, AllowedIPs: ips, PersistentKeepalive: keepalive}
		r = request{method: "POST", target: "/v1/wg/wg0/apply", body: fmt.Sprintf(
			`{"changes": [{"op": "put", "public_key": %q, "allowed_ips": [%s], "persistent_keepalive": %d}]}`, k, quoted(ips), keepalive)}
	}
	status, body, err := n.try(r)
	if err != nil {
		w.done = next
		return false
	}
	require.Equal(n.t, 200, status, "%s %s %s: %s", r.method, r.target, r.body, body)
	w.peers = next
	return true
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, s := range texts {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// try is do for an agent that may die meanwhile.
func (n *node) try(r request) (int, string, error) {
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	req, err := http.NewRequest(r.method, n.AgentURL+r.target, strings.NewReader(r.body))
	require.NoError(n.t, err)
	req.Header.Set("X-Timestamp", stamp)
	req.Header.Set("X-Signature", mac(secret, strings.Join([]string{r.method, r.target, r.body, stamp}, "|")))
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// agree checks device, file and last good state after a start.
func (n *node) agree(writers []*writer, round int) {
	n.t.Helper()
	device := n.peers()
	for _, w := range writers {
		mine := map[string]dumpPeer{}
		for k, p := range device {
			if w.owns(k) {
				mine[k] = dumpPeer{PublicKey: k, AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.PersistentKeepalive}
			}
		}
		if w.done == nil || !samePeers(w.done, mine) { // an interrupted write was done, or was not
			require.Equal(n.t, w.peers, mine, "round %d, writer %d: an acknowledged change is gone\n%s", round, w.id, n.Log)
		}
		w.peers, w.done = mine, nil
	}
	file := n.wholeFile()
	for k, p := range device {
		require.Equal(n.t, p.AllowedIPs, file[k].AllowedIPs, "round %d: file and device differ on %s", round, k)
		require.Equal(n.t, p.PersistentKeepalive, file[k].PersistentKeepalive, "round %d: file and device differ on %s", round, k)
	}
	require.Len(n.t, file, len(device), "round %d: the file has other peers than the device", round)
}

func (w *writer) owns(k string) bool {
	for i := range 6 {
		if k == key(fmt.Sprintf("kill %d %d", w.id, i)) {
			return true
		}
	}
	return false
}

func samePeers(a, b map[string]dumpPeer) bool {
	return maps.EqualFunc(a, b, func(x, y dumpPeer) bool {
		return x.PersistentKeepalive == y.PersistentKeepalive && slices.Equal(x.AllowedIPs, y.AllowedIPs)
	})
}

// wholeFile reads the host's file with a few lines of its own, and judges that it is all there.
func (n *node) wholeFile() map[string]dumpPeer {
	n.t.Helper()
	raw, err := os.ReadFile(n.file())
	require.NoError(n.t, err)
	text := string(raw)
	require.True(n.t, strings.HasPrefix(text, "# the office\n[Interface]\n"), text)
	require.True(n.t, strings.HasSuffix(text, "\n"), text)
	info, err := os.Stat(n.file())
	require.NoError(n.t, err)
	require.Equal(n.t, os.FileMode(0o600), info.Mode().Perm())
	head, _, _ := strings.Cut(text, "[Peer]")
	for _, line := range []string{"PrivateKey = cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM=\n", "Address = 10.8.0.1/24\n", "PostUp = true %i\n"} {
		require.Contains(n.t, head, line)
	}
	out := map[string]dumpPeer{}
	for section := range strings.SplitSeq(text, "[Peer]\n") {
		p := dumpPeer{AllowedIPs: []string{}}
		for line := range strings.Lines(section) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
			switch name {
			case "PublicKey":
				p.PublicKey = value
			case "AllowedIPs":
				p.AllowedIPs = strings.Split(value, ", ")
			case "PersistentKeepalive":
				p.PersistentKeepalive, err = strconv.Atoi(value)
				require.NoError(n.t, err, "a line that is no line: %q", line)
			}
		}
		if p.PublicKey != "" {
			require.Len(n.t, p.PublicKey, 44)
			out[p.PublicKey] = p
		}
	}
	require.Contains(n.t, out, "FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=", "the first peer is gone")
	left, err := filepath.Glob(filepath.Join(n.conf, "*"))
	require.NoError(n.t, err)
	for _, path := range left {
		require.True(n.t, path == n.file() || strings.HasPrefix(filepath.Base(path), "."), "%s is left in the folder", path)
	}
	return out
}
