package server

import (
	"encoding/base64"
	"net/url"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// pathKey reads the public key at the end of a path: base64 as it is, percent-encoded, or base64url
// with or without padding.
func pathKey(escaped string) (wgtypes.Key, error) {
	s, err := url.PathUnescape(escaped)
	if err == nil {
		if k, err := engine.ParseKey(s); err == nil {
			return k, nil
		}
		unpadded := strings.TrimSuffix(s, "=")
		if b, err := base64.RawURLEncoding.Strict().DecodeString(unpadded); err == nil && len(unpadded) == 43 && len(b) == wgtypes.KeyLen {
			return wgtypes.Key(b), nil
		}
	}
	return wgtypes.Key{}, fieldError([]any{"path", "public_key"}, "public_key",
		"the path holds no public key: expected base64 or base64url of 32 bytes", nil)
}

// fieldError is the 422 for one field.
func fieldError(loc []any, field, reason string, input any) *agent.Error {
	e := agent.Errorf(agent.CodeInvalidField, "%s: %s", field, reason)
	e.Detail = []agent.Detail{{Type: "value_error", Loc: loc, Msg: reason, Input: input}}
	return e
}
