package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// bufferSize is how much of a stream moves at once. A flow holds a buffer only while something moves.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// keepAlive finds out on either side that the other end is gone without a word.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}

// stream is a TCP connection of a peer, spliced to one of the host.
type stream struct {
	peer  tcpip.Endpoint
	queue waiter.Queue // of peer
	host  *net.TCPConn
}

// carry moves both directions until both are over or ctx ends, and closes the stream. An end of file passes as a half
// close, a reset as a reset.
func (s *stream) carry(ctx context.Context, f *flow) {
	s.keepAlive()
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(aborted)
		s.abort()
	})
	var down sync.WaitGroup
	down.Go(func() { s.over(s.toPeer(ctx, f)) })
	s.over(s.toHost(ctx, f))
	down.Wait()
	if !stop() {
		<-aborted
	}
	s.host.Close()
	s.peer.Close()
}

// over is the end of one direction. What is no end of file ends the other one as well.
func (s *stream) over(err error) {
	if err != nil {
		s.abort()
	}
}

// abort resets both sides. It may be called at any time, more than once.
func (s *stream) abort() {
	reset(s.host)
	s.peer.Abort()
}

// reset closes a connection so that its other end sees a reset.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // of a closed one: nothing is left to reset
	c.Close()
}

func (s *stream) keepAlive() {
	o := s.peer.SocketOptions()
	o.SetKeepAlive(true)
	o.SetDelayOption(false)
	idle, interval := tcpip.KeepaliveIdleOption(keepAlive.Idle), tcpip.KeepaliveIntervalOption(keepAlive.Interval)
	// They fail on an endpoint that is no TCP alone.
	_ = s.peer.SetSockOpt(&idle)
	_ = s.peer.SetSockOpt(&interval)
	_ = s.peer.SetSockOptInt(tcpip.KeepaliveCountOption, keepAlive.Count)
}

// toHost moves what the peer sends. nil: the peer has sent all, and the host was told.
func (s *stream) toHost(ctx context.Context, f *flow) error {
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	for {
		n, err := s.moveToHost(ctx, f)
		switch err.(type) {
		case nil:
			f.fromPeer(n)
		case *tcpip.ErrWouldBlock:
			select {
			case <-readable:
			case <-ctx.Done():
				return ctx.Err()
			}
		case *tcpip.ErrClosedForReceive:
			return s.host.CloseWrite()
		default:
			return errors.New(err.String())
		}
	}
}

// moveToHost moves what the peer has sent by now, at most a buffer full.
func (s *stream) moveToHost(ctx context.Context, f *flow) (int, tcpip.Error) {
	b, _ := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(b)
	w := tcpip.SliceWriter(b[:])
	r, err := s.peer.Read(&w, tcpip.ReadOptions{})
	if err != nil {
		return 0, err
	}
	if f.account.wait(ctx, r.Count) != nil {
		return 0, &tcpip.ErrAborted{}
	}
	if _, err := s.host.Write(b[:r.Count]); err != nil {
		return 0, &tcpip.ErrConnectionReset{}
	}
	return r.Count, nil
}

// toPeer moves what the host's network sends. nil: it has sent all, and the peer was told.
func (s *stream) toPeer(ctx context.Context, f *flow) error {
	raw, err := s.host.SyscallConn()
	if err != nil {
		return err
	}
	entry, writable := waiter.NewChannelEntry(waiter.WritableEvents)
	s.queue.EventRegister(&entry)
	defer s.queue.EventUnregister(&entry)
	for {
		n, b, err := readReady(raw)
		if err == nil {
			if err = f.account.wait(ctx, n); err == nil {
				err = s.writePeer(ctx, b[:n], writable)
			}
			buffers.Put(b)
		}
		switch {
		case err == nil:
			f.toPeer(n)
		case errors.Is(err, io.EOF):
			if err := s.peer.Shutdown(tcpip.ShutdownWrite); err != nil {
				return errors.New(err.String())
			}
			return nil
		default:
			return err
		}
	}
}

// readReady waits until there is something to read and only then takes a buffer for it, which the caller puts
// back. io.EOF at the end.
func readReady(raw syscall.RawConn) (n int, b *[bufferSize]byte, err error) {
	failed := raw.Read(func(fd uintptr) bool {
		b, _ = buffers.Get().(*[bufferSize]byte)
		for {
			if n, err = syscall.Read(int(fd), b[:]); !errors.Is(err, syscall.EINTR) {
				break
			}
		}
		if n > 0 {
			return true
		}
		buffers.Put(b)
		return !errors.Is(err, syscall.EAGAIN)
	})
	switch {
	case failed != nil:
		return 0, nil, failed
	case err != nil:
		return 0, nil, err
	case n <= 0:
		return 0, nil, io.EOF
	}
	return n, b, nil
}

// writePeer writes all of b.
func (s *stream) writePeer(ctx context.Context, b []byte, writable <-chan struct{}) error {
	r := bytes.NewReader(b)
	for r.Len() > 0 {
		_, err := s.peer.Write(r, tcpip.WriteOptions{})
		switch err.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			select {
			case <-writable:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return errors.New(err.String())
		}
	}
	return nil
}
