package client

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

func TestWhatAWaitAsksFor(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	empty := engine.Digest(nil, engine.MACKey{})
	f.answer = func(*http.Request) (int, string, string, string) { return 304, quote(empty), "new", "" }
	for _, test := range []struct {
		q             Query
		prefer, iface string
	}{
		{Query{IfNot: empty}, "", ""},
		{Query{IfNot: empty, Wait: 30 * time.Second, IfNotInterface: "old"}, "wait=30", "old"},
		{Query{IfNot: empty, Wait: 100 * time.Millisecond}, "wait=1", ""},
		{Query{IfNot: empty, Wait: time.Hour}, "wait=60", ""},
	} {
		s, err := c.Dump(t.Context(), "wg0", test.q)
		require.NoError(t, err)
		require.Equal(t, Snapshot{NotModified: true, Digest: empty, InterfaceDigest: "new"}, s)
		last := f.seen[len(f.seen)-1]
		require.Equal(t, [2]string{test.prefer, test.iface}, [2]string{last.Header.Get("Prefer"), last.Header.Get(agent.HeaderInterfaceDigest)})
	}
}

// pipes is a network in memory, whose connections can go silent without being closed.
type pipes struct {
	next   chan net.Conn
	closed chan struct{}
	once   sync.Once
	mute   atomic.Bool
	dials  atomic.Int64
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.next:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p.dials.Add(1)
	p.next <- mutable{there, p}
	return mutable{here, p}, nil
}

// mutable loses what is written while the network is mute.
type mutable struct {
	net.Conn
	net *pipes
}

func (c mutable) Write(b []byte) (int, error) {
	if c.net.mute.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestAHeldRequestLivesAndAHungOneIsNoticed over both versions of HTTP.
func TestAHeldRequestLivesAndAHungOneIsNoticed(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &pipes{next: make(chan net.Conn), closed: make(chan struct{})}
				var major atomic.Int64
				f := newFake(t, func(h http.Handler) *httptest.Server {
					s := httptest.NewUnstartedServer(h)
					s.Listener.Close()
					s.Listener, s.EnableHTTP2 = p, h2
					s.StartTLS()
					return s
				})
				roots := x509.NewCertPool()
				roots.AddCert(f.server.Certificate())
				transport, err := NewTransport(TLS{Roots: roots})
				require.NoError(t, err)
				transport.DialContext = p.dial
				defer transport.CloseIdleConnections()
				c := f.client(func(o *Options) { o.Transport = transport })
				empty := engine.Digest(nil, engine.MACKey{})
				var wait atomic.Int64
				f.answer = func(r *http.Request) (int, string, string, string) {
					major.Store(int64(r.ProtoMajor))
					<-time.After(time.Duration(wait.Load()))
					return 304, quote(empty), "d", ""
				}
				hold := func() (time.Duration, error) {
					ctx, cancel := context.WithTimeout(t.Context(), agent.MaxWait+10*time.Second)
					defer cancel()
					began := time.Now()
					_, err := c.Dump(ctx, "wg0", Query{IfNot: empty, Wait: agent.MaxWait})
					return time.Since(began), err
				}
				wait.Store(int64(agent.MaxWait))
				took, err := hold()
				require.NoError(t, err)
				require.Equal(t, agent.MaxWait, took)
				require.Equal(t, h2, major.Load() == 2)
				require.EqualValues(t, 1, p.dials.Load())

				time.AfterFunc(5*time.Second, func() { p.mute.Store(true) })
				took, err = hold()
				isKind(t, err, Unreachable)
				if h2 {
					require.Less(t, took, agent.MaxWait, "a ping finds it before the deadline")
				} else {
					require.Equal(t, agent.MaxWait+10*time.Second, took)
				}
				p.mute.Store(false)
				wait.Store(0)
				_, err = hold()
				require.NoError(t, err)
				require.EqualValues(t, 2, p.dials.Load(), "the dead connection is not used again")
				<-time.After(agent.MaxWait) // for the agent's end of the call that was given up
			})
		})
	}
}
