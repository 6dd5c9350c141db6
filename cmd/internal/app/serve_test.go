package app

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// slowListener hands a connection over only a while after it was closed: as a loaded host does.
type slowListener struct {
	net.Listener
	taken, closed chan struct{}
}

func (l *slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		close(l.taken)
		<-l.closed
	}
	return c, err
}

func (l *slowListener) Close() error {
	err := l.Listener.Close()
	if err == nil {
		time.AfterFunc(100*time.Millisecond, func() { close(l.closed) })
	}
	return err
}

// Who was taken in just before the end is answered.
func TestAConnectionTakenAtTheEndIsAnswered(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &slowListener{inner, make(chan struct{}), make(chan struct{})}
	p := &process{log: newLogger(io.Discard, 0), tasks: new(errgroup.Group)}
	p.cleanups.log = p.log
	p.serve("requests", &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.NotFoundHandler()}, l, func() {})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+inner.Addr().String(), nil)
	require.NoError(t, err)
	answered := make(chan error, 1)
	go func() {
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		answered <- err
	}()
	<-l.taken
	require.NoError(t, p.cleanups.run(t.Context()))
	require.NoError(t, <-answered)
	require.NoError(t, p.tasks.Wait())
}
