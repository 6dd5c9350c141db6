//go:build root

package migrate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

// kept are the folders of which nothing may differ once the host is moved back.
var kept = []string{"/etc", "/var/lib", "/run/systemd/system", "/run/wireguard", "/usr/local", "/root", from}

// rekey is the age at which WireGuard renews a session by itself (REKEY_AFTER_TIME), and some time less.
const rekey = 110 * time.Second

// systemdsOwn changes by itself while a host runs.
const systemdsOwn = "/var/lib/systemd"

// snapshot is what is on the host, each thing by its name: its files with kind, mode, owner and a hash of what they hold,
// its network, and what the devices are made to do. No secret is in it.
func (h host) snapshot() map[string]string {
	h.Helper()
	out := map[string]string{}
	for _, root := range kept {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil
			case err != nil:
				return err
			case path == systemdsOwn:
				return filepath.SkipDir
			}
			out[path], err = describe(path)
			return err
		})
		require.NoError(h, err)
	}
	require.Greater(h, len(out), 50)
	for _, look := range []string{"link", "addr", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule"} {
		out["ip "+look] = h.sh("ip", strings.Fields("-o "+look)...)
	}
	for _, name := range []string{"wg0", "wg1"} {
		seen := h.observe(name)
		i := seen.Interface
		out[name] = fmt.Sprintf("%x, port %d, mark %d, %v, MTU %d", sumOf(i.PrivateKey), i.ListenPort, i.FwMark, i.Addresses, i.MTU)
		for _, p := range seen.Peers {
			out[name+" "+p.PublicKey.String()] = fmt.Sprintf("%x, %v, every %d s, at %v", sumOf(p.PresharedKey), p.AllowedIPs, p.PersistentKeepalive, seen.Stats[p.PublicKey].Endpoint)
		}
	}
	return out
}

func sumOf(k engine.SecretKey) [sha256.Size]byte { return sha256.Sum256([]byte(k.RevealText())) }

// differences are what is there in one snapshot alone, or in another way.
func differences(before, now map[string]string) (out []string) {
	for name, was := range before {
		if is, there := now[name]; !there {
			out = append(out, name+" is gone")
		} else if is != was {
			out = append(out, fmt.Sprintf("%s\n  was %s\n  is  %s", name, was, is))
		}
	}
	for name, is := range now {
		if _, there := before[name]; !there {
			out = append(out, name+" is new: "+is)
		}
	}
	slices.Sort(out)
	return out
}

// unchanged wants the host to be as it was, to the byte.
func (h host) unchanged(before map[string]string) {
	h.Helper()
	require.Empty(h, strings.Join(differences(before, h.snapshot()), "\n"))
}

func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	text := info.Mode().String()
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		text += fmt.Sprintf(" %d:%d", s.Uid, s.Gid)
	}
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		return fmt.Sprintf("%s %d bytes, %x", text, len(content), sha256.Sum256(content)), err
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return text + " -> " + target, err
	}
	return text, nil
}

func (h host) observe(name string) engine.Observation {
	h.Helper()
	d, err := kernel.New().Attach(h.Context(), name)
	require.NoError(h, err)
	seen, err := d.Observe(h.Context())
	require.NoError(h, err)
	return seen
}

// session is what wg0 knows of the client.
func (h host) session() engine.Stats {
	h.Helper()
	s, ok := h.observe("wg0").Stats[h.client.private.PublicKey()]
	require.True(h, ok)
	return s
}

// retry is when wireguard-go sends an initiation again (REKEY_TIMEOUT and its jitter), and some time more. It does so even
// with a session where the answer came before its timer was set.
const retry = 6 * time.Second

// settled waits until no handshake is on its way.
func (h host) settled() {
	h.Helper()
	require.Eventually(h, func() bool { return time.Since(h.session().LastHandshake) > retry }, 5*retry, retry/12)
}

// same wants the session to be the one of before: no handshake was needed, and nothing was counted anew.
func (h host) same(before engine.Stats) {
	h.Helper()
	now := h.session()
	require.False(h, before.LastHandshake.IsZero())
	if time.Since(before.LastHandshake) < rekey {
		require.Equal(h, before.LastHandshake, now.LastHandshake)
	}
	require.Equal(h, before.Endpoint, now.Endpoint)
	require.Greater(h, now.RxBytes, before.RxBytes)
	require.Greater(h, now.TxBytes, before.TxBytes)
}
