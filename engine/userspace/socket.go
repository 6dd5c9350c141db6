package userspace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"

	"github.com/wgfleet/wgfleet/engine"
)

// socket is the UAPI socket of one device: where wg(8) reads and configures it. Only the user who
// runs this process may connect.
type socket struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex // protects the rest
	conns  map[net.Conn]struct{}
	closed bool
}

// umask is process-wide state: one socket is made at a time.
var umask sync.Mutex

// listen makes the socket file. One that a crashed process left is replaced, one that answers means
// that the interface is live elsewhere.
func listen(dir, name string) (*socket, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, socketError(name, err)
	}
	path := filepath.Join(dir, name+".sock")
	if err := removeStale(path, name); err != nil {
		return nil, err
	}
	umask.Lock()
	old := syscall.Umask(0o077)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	umask.Unlock()
	if err != nil {
		return nil, socketError(name, err)
	}
	return &socket{listener: l, conns: make(map[net.Conn]struct{})}, nil
}

func removeStale(path, name string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("UAPI socket of %s: %s is there and is no socket", name, path)
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("%w: %s is served on %s by another process", engine.ErrInterfaceExists, name, path)
	case !errors.Is(err, syscall.ECONNREFUSED):
		return socketError(name, err)
	}
	if err := os.Remove(path); err != nil {
		return socketError(name, err)
	}
	return nil
}

func socketError(name string, err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: UAPI socket of %s: %w", engine.ErrNotPermitted, name, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: UAPI socket of %s: %w", engine.ErrInterfaceExists, name, err)
	}
	return fmt.Errorf("UAPI socket of %s: %w", name, err)
}

// serve answers until close.
func (s *socket) serve(d *Device) {
	s.running.Go(func() {
		for {
			c, err := s.listener.Accept()
			if err != nil {
				return // closed; a unix listener has no passing errors but those of a full process
			}
			if !s.add(c) {
				c.Close()
				return
			}
			s.running.Go(func() {
				defer s.done(c)
				d.answer(c)
			})
		}
	})
}

func (s *socket) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.conns[c] = struct{}{}
	}
	return !s.closed
}

func (s *socket) done(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// close removes the socket file, ends the connections and waits for them.
func (s *socket) close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.listener.Close()
	s.running.Wait()
}

// answer serves one connection. It does what device.IpcHandle does, counts the writes, and reads a
// write to its end first: wireguard-go lets nobody else read while it waits for the next line.
func (d *Device) answer(c net.Conn) {
	rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	for {
		op, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		switch op {
		case "set=1\n":
			var text bytes.Buffer
			if !readOperation(rw.Reader, &text) {
				return
			}
			err = d.dev.IpcSetOperation(&text)
			d.refollow()
			d.revision.Add(1) // before the answer, and after an error too: half of it may be done
		case "get=1\n":
			if b, gone := rw.ReadByte(); gone != nil || b != '\n' {
				return
			}
			err = d.dev.IpcGetOperation(rw.Writer)
		default:
			return
		}
		fmt.Fprintf(rw, "errno=%d\n\n", errno(err))
		if rw.Flush() != nil {
			return
		}
	}
}

// readOperation reads up to the empty line that ends an operation, and reports whether it came.
func readOperation(r *bufio.Reader, into *bytes.Buffer) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		into.WriteString(line)
		if line == "\n" {
			return true
		}
	}
}

func errno(err error) int64 {
	if err == nil {
		return 0
	}
	if known, ok := errors.AsType[*device.IPCError](err); ok {
		return known.ErrorCode()
	}
	return ipc.IpcErrorUnknown
}
