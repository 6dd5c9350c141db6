package web

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel"
)

var errorsOfPanel = map[string]struct {
	err    error
	status int
	data   string
}{
	"ErrNotFound":     {panel.ErrNotFound, 404, `null`},
	"ErrConflict":     {panel.ErrConflict, 409, `null`},
	"ErrUnauthorized": {panel.ErrUnauthorized, 401, `null`},
	"ErrNode":         {panel.ErrNode, 502, `{"node_id":"","code":"unreachable","reason":"on the way: the node did not answer"}`},
	"ErrUnavailable":  {panel.ErrUnavailable, 503, `null`},
	"ErrNotEmpty":     {panel.ErrNotEmpty, 409, `{"code":"not_empty"}`},
	"ErrNoPrivateKey": {panel.ErrNoPrivateKey, 409, `{"code":"no_private_key"}`},
	"InvalidError":    {panel.Invalid("mtu", "too small"), 422, `[{"field":"mtu","error":"too small"}]`},
	"NodeError":       {&panel.NodeError{NodeID: "n1", Code: "clock", Reason: "400 s off"}, 502, `{"node_id":"n1","code":"clock","reason":"400 s off"}`},
}

// Every error that package panel exports has a status other than 500.
func TestErrorTableIsComplete(t *testing.T) {
	pkgs, err := parser.ParseDir(token.NewFileSet(), "..", nil, 0) //nolint:staticcheck // names are all that is wanted
	require.NoError(t, err)
	var names []string
	for path, file := range pkgs["panel"].Files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for name, object := range file.Scope.Objects {
			isType := object.Kind == ast.Typ && strings.HasSuffix(name, "Error") && name != "ReconcileError" && ast.IsExported(name)
			if isType || object.Kind == ast.Var && strings.HasPrefix(name, "Err") {
				names = append(names, name)
			}
		}
	}
	require.Len(t, names, len(errorsOfPanel))
	for _, name := range names {
		require.Contains(t, errorsOfPanel, name)
	}
}

func TestErrorsToStatuses(t *testing.T) {
	for name, tt := range errorsOfPanel {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.fake.err = fmt.Errorf("on the way: %w", tt.err)
			r := h.do(http.MethodPost, "/api/nodes/n1/peers", adminToken, `{}`)
			require.Equal(t, tt.status, r.Code)
			require.JSONEq(t, tt.data, string(r.Data))
		})
	}
	for err, want := range map[error]int{context.Canceled: 503, context.DeadlineExceeded: 504} {
		status, _, known := refusal(err)
		require.True(t, known)
		require.Equal(t, want, status)
	}
}

func TestUnknownErrorStaysInTheLog(t *testing.T) {
	h := newHarness(t)
	h.fake.err = errors.New("badger: the disk is full")
	r := h.get("/api/nodes")
	require.Equal(t, http.StatusInternalServerError, r.Code)
	require.NotContains(t, r.Body.String(), "disk")
	require.Contains(t, r.Message, r.Header().Get(requestIDHeader))
	require.Contains(t, h.log.String(), `level=ERROR msg=request method=GET route=/api/nodes status=500`)
	require.Contains(t, h.log.String(), `error="badger: the disk is full"`)
}

func TestPanic(t *testing.T) {
	h := newHarness(t)
	h.fake.panics = "a bug"
	r := h.get("/api/nodes/n1")
	require.Equal(t, http.StatusInternalServerError, r.Code)
	require.Contains(t, r.Message, r.Header().Get(requestIDHeader))
	require.NotContains(t, r.Body.String(), "a bug")
	require.Contains(t, h.log.String(), `panic="a bug"`)
	require.Contains(t, h.log.String(), "fake_test.go", "the stack names the place")
	h.fake.panics = nil
	require.Equal(t, http.StatusOK, h.get("/api/nodes/n1").Code)

	h.fake.panics = http.ErrAbortHandler
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { h.get("/api/nodes/n1") })
}

func TestNoPrivateKey(t *testing.T) {
	h := newHarness(t)
	p := h.fake.peers["p1"]
	p.PrivateKey = engine.SecretKey{}
	h.fake.peers["p1"] = p
	for _, file := range []string{"config", "qr"} {
		r := h.get("/api/nodes/n1/peers/p1/" + file)
		require.Equal(t, http.StatusConflict, r.Code)
		require.JSONEq(t, `{"code":"no_private_key"}`, string(r.Data))
	}
}
