package userspace_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// served is a netstack device with a UAPI socket.
func served(t *testing.T) (d *userspace.Device, path string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "uapi")
	made, err := userspace.NewNetstack(userspace.Options{UAPIDir: dir}).
		Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, made.Close(context.Background())) })
	return made.(*userspace.Device), filepath.Join(dir, "wg0.sock")
}

// say sends one operation on c and returns the answer up to its empty line.
func say(t *testing.T, c net.Conn, text string) string {
	t.Helper()
	_, err := c.Write([]byte(text))
	require.NoError(t, err)
	var out strings.Builder
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if line == "\n" {
			return out.String()
		}
		out.WriteString(line)
	}
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestUAPISocketIsPrivate(t *testing.T) {
	_, path := served(t)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
}

func TestWritesOfOthersMoveTheRevision(t *testing.T) {
	d, path := served(t)
	c := dial(t, path)
	start := d.Revision()
	require.Contains(t, say(t, c, "get=1\n\n"), "errno=0")
	require.Equal(t, start, d.Revision(), "reading moves nothing")
	k := enginetest.PeerKey(0)
	set := fmt.Sprintf("set=1\npublic_key=%s\nallowed_ip=10.0.0.2/32\n\n", hex.EncodeToString(k[:]))
	require.Equal(t, "errno=0\n", say(t, c, set))
	require.Equal(t, start+1, d.Revision())
	require.Contains(t, say(t, c, "get=1\n\n"), "allowed_ip=10.0.0.2/32")
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Len(t, o.Peers, 1)

	require.NotEqual(t, "errno=0\n", say(t, dial(t, path), "set=1\nlisten_port=x\n\n"))
	require.Equal(t, start+2, d.Revision(), "half of a failed write may be done")
}

func TestUAPISocketRefusesNonsense(t *testing.T) {
	d, path := served(t)
	for _, text := range []string{"hello\n", "get=1\nx", "set=2\n\n"} {
		c := dial(t, path)
		_, err := c.Write([]byte(text))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.Error(t, err, "the connection ends")
	}
	require.Zero(t, d.Revision())
}

func TestAWriteThatStopsHalfwayIsNotDoneAndBlocksNobody(t *testing.T) {
	d, path := served(t)
	k := enginetest.PeerKey(0)
	c := dial(t, path)
	_, err := fmt.Fprintf(c, "set=1\npublic_key=%s\n", hex.EncodeToString(k[:]))
	require.NoError(t, err)
	require.Contains(t, say(t, dial(t, path), "get=1\n\n"), "errno=0")
	require.NoError(t, c.Close())
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Empty(t, o.Peers)
	require.Zero(t, d.Revision())
}

func TestCloseEndsConnections(t *testing.T) {
	d, path := served(t)
	idle, half := dial(t, path), dial(t, path)
	require.Contains(t, say(t, idle, "get=1\n\n"), "errno=0")
	_, err := half.Write([]byte("set=1\nprivate_key="))
	require.NoError(t, err)
	require.NoError(t, d.Close(t.Context()))
	_, err = idle.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoFileExists(t, path)
}

func TestSocketOfAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wg0.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	b := userspace.NewNetstack(userspace.Options{UAPIDir: dir})
	_, err = b.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.ErrorIs(t, err, engine.ErrInterfaceExists, "it is live")
	require.ErrorContains(t, err, path)
	require.NoError(t, l.Close())

	d, err := b.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.NoError(t, err, "its process is gone, the file stayed")
	require.NoError(t, d.Close(t.Context()))

	require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
	_, err = b.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.ErrorContains(t, err, "is no socket")
	require.FileExists(t, path)
}

func TestSocketFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	b := userspace.NewNetstack(userspace.Options{UAPIDir: file})
	_, err := b.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.ErrorContains(t, err, "UAPI socket of wg0")
	names, err := b.Names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
}
