package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// jsonAnswer encodes v as the original does: UTF-8, nothing escaped for HTML.
func jsonAnswer(status int, v any) (*answer, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return &answer{
		status: status,
		header: http.Header{"Content-Type": {"application/json"}},
		body:   bytes.TrimSuffix(b.Bytes(), []byte("\n")),
	}, nil
}

func ok(v any) (*answer, error) { return jsonAnswer(http.StatusOK, v) }

// errorAnswer turns an error into its answer. What went wrong here is logged; what the caller did
// wrong is in the answer alone.
func (s *Server) errorAnswer(ctx context.Context, q *request, err error) *answer {
	e := toError(err)
	if e.Code == agent.CodeInternal {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "request failed", slog.String("route", q.route.name),
			slog.String("interface", logged(q.route.iface)), slog.String("error", err.Error()), slog.String("id", q.id))
	}
	a, bad := jsonAnswer(e.Code.Status(), e)
	if bad != nil {
		a = &answer{status: http.StatusInternalServerError, header: http.Header{}, body: []byte(`{"error":"internal error","code":"internal"}`)}
	}
	if e.Code == agent.CodeRateLimited || e.Code == agent.CodeBusy {
		a.header.Set("Retry-After", "1")
	}
	return a
}

// toError finds the code of an error: the one table.
func toError(err error) *agent.Error {
	e := withoutApply(err)
	a, ok := errors.AsType[*engine.ApplyError](err)
	if !ok {
		return e
	}
	whole := *e
	whole.RolledBack = &a.RolledBack
	whole.Message = a.Error()
	for _, k := range a.Residual {
		whole.Failed = append(whole.Failed, agent.FailedPeer{PublicKey: k.String(), Error: "is neither as before nor as wanted"})
	}
	if !a.RolledBack {
		whole.Code = agent.CodeInternal
	}
	return &whole
}

func withoutApply(err error) *agent.Error {
	if e, ok := errors.AsType[*agent.Error](err); ok {
		return e
	}
	if f, ok := errors.AsType[*engine.FieldError](err); ok {
		return fieldError([]any{"body", f.Field}, f.Field, f.Reason, nil)
	}
	if c, ok := errors.AsType[*engine.ConflictError](err); ok {
		e := agent.Errorf(agent.CodeAllowedIPTaken, "%s", c.Error())
		e.Holder = c.Holder.String()
		return e
	}
	code := agent.CodeInternal
	for _, t := range []struct {
		is   error
		code agent.Code
	}{
		{engine.ErrUnknownInterface, agent.CodeUnknownInterface},
		{engine.ErrInterfaceExists, agent.CodeInterfaceExists},
		{engine.ErrPortInUse, agent.CodePortInUse},
		{engine.ErrAddressInUse, agent.CodeAddressInUse},
		{engine.ErrClosed, agent.CodeInterfaceDown},
		{errNoGateway, agent.CodeNoGateway},
		{context.DeadlineExceeded, agent.CodeBusy},
		{context.Canceled, agent.CodeBusy},
	} {
		if errors.Is(err, t.is) {
			code = t.code
			break
		}
	}
	return agent.Errorf(code, "%s", err.Error())
}
