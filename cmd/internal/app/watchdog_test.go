package app

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A role that accepts callers and answers none is not alive; one that answers whatever it likes is.
func TestKnock(t *testing.T) {
	knock := func(d door) error {
		p := &process{doors: []door{d}}
		return p.knock(t.Context(), &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, time.Second)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	require.ErrorContains(t, knock(door{silent, "http://" + silent.Addr().String() + "/health"}), "/health does not answer within 1s")

	angry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer angry.Close()
	require.NoError(t, knock(door{angry.Listener, angry.URL}))

	suspicious := httptest.NewTLSServer(angry.Config.Handler)
	defer suspicious.Close()
	require.NoError(t, knock(door{suspicious.Listener, suspicious.URL}), "a handshake that fails is an answer")

	nobodys, err := listen(t.Context(), "192.0.2.1", 0, keyHost, keyPort) // RFC 5737
	require.NoError(t, err)
	defer nobodys.Close()
	require.NoError(t, knock(door{nobodys, "http://" + nobodys.Addr().String()}), "it can't be asked")
}
