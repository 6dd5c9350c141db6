package server

import (
	"errors"
	"net/http"

	"github.com/wgfleet/wgfleet/agent"
)

// maxAhead is how far in the future the stamp of a v2 request may lie, in seconds.
const maxAhead = 30

// authenticate verifies the request and reads its body. The order is the original's: headers,
// stamp, signature; nothing of the body is read before the first two are right.
func (s *Server) authenticate(w http.ResponseWriter, q *request) error {
	h := q.http.Header
	signature, stamp := h.Get(agent.HeaderSignature), h.Get(agent.HeaderTimestamp)
	if signature == "" || stamp == "" {
		return agent.Errorf(agent.CodeMissingSignature, "Missing X-Signature or X-Timestamp header")
	}
	if err := s.checkStamp(q, stamp); err != nil {
		return err
	}
	nonce := h.Get(agent.HeaderNonce)
	switch {
	case !q.v2 && s.o.RequireNonce:
		return agent.Errorf(agent.CodeNonceRequired, "this agent takes only signatures with X-Nonce")
	case q.v2 && !agent.ValidNonce(nonce):
		return agent.Errorf(agent.CodeInvalidNonce, "X-Nonce is not 22 to 86 characters of base64url without padding")
	}
	now := s.o.Now()
	source := addressOf(q.http)
	body, err := s.budget.read(w, q.http)
	if errors.Is(err, errBroken) && !s.failures.failed(source, now) { // it held memory for up to bodyTimeout
		return errLimited()
	}
	if err != nil {
		return err
	}
	defer s.budget.release(body)
	signed := agent.Request{
		Method: q.http.Method, Target: q.target, Body: body.bytes(), Timestamp: stamp,
		Nonce: nonce, Node: h.Get(agent.HeaderNode),
	}
	signer, ok := s.verify(q.v2, signed, signature)
	if !ok {
		// Only who fails is held up: a panel may share its address with whoever makes the noise.
		if !s.failures.failed(source, now) {
			return errLimited()
		}
		return agent.Errorf(agent.CodeSignature, "Invalid signature")
	}
	q.signer, q.mac, q.body = signer, s.macs[signer], signed.Body
	if !q.v2 {
		return nil
	}
	return s.checkV2(signed)
}

func errLimited() error {
	return agent.Errorf(agent.CodeRateLimited, "too many requests with wrong signatures or broken bodies came from this address")
}

// checkV2 looks at what a valid v2 signature vouches for.
func (s *Server) checkV2(r agent.Request) error {
	if err := s.identity.check(r.Node); err != nil {
		return err
	}
	return s.nonces.use(r.Nonce, s.o.Now())
}

func (s *Server) checkStamp(q *request, stamp string) error {
	ts, ok := parseStamp(stamp)
	if !ok {
		return agent.Errorf(agent.CodeInvalidTimestamp, "Invalid timestamp")
	}
	now := s.o.Now().Unix()
	off := now - ts
	age := int64(s.o.MaxTimestampAge.Seconds())
	if off > age || off < -age || q.v2 && (off < -maxAhead || ts < s.started.Unix()) {
		return agent.Errorf(agent.CodeTimestamp, "Request timestamp too old")
	}
	return nil
}

func (s *Server) verify(v2 bool, r agent.Request, signature string) (agent.Secret, bool) {
	for _, secret := range s.o.secrets() {
		if v2 && secret.VerifyV2(r, signature) || !v2 && secret.VerifyV1(r, signature) {
			return secret, true
		}
	}
	return "", false
}

// tryAuthenticate verifies a request to an open route that carries a v2 signature, so that its
// answer can be signed; any other is served all the same, without being looked at.
func (s *Server) tryAuthenticate(w http.ResponseWriter, q *request) {
	if !q.v2 || q.http.Header.Get(agent.HeaderSignature) == "" {
		return
	}
	if err := s.authenticate(w, q); err != nil {
		q.signer = ""
	}
}
