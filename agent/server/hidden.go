package server

import (
	"encoding/json"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
)

// echo returns the input of a refused field for the answer, without anything that may be a secret.
func echo(field string, raw json.RawMessage) any {
	if secretName(field) {
		return nil
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	if _, text := v.(string); text && field == "" {
		return nil // a whole body as text may be anything
	}
	return withoutSecrets(field, v)
}

// echoAll returns the whole object.
func (o *object) echoAll() any {
	out := make(map[string]any, len(o.members))
	for name, raw := range o.members {
		out[name] = echo(name, raw)
	}
	return out
}

// withoutSecrets takes out what may be a secret: by its name, or because it looks like a key and is
// not called public.
func withoutSecrets(field string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = withoutSecrets(name, v[name])
			if secretName(name) {
				v[name] = nil
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutSecrets(field, v[i])
		}
	case string:
		if !strings.Contains(strings.ToLower(field), "public") {
			return engine.RedactKeys(v)
		}
	}
	return v
}

// secretName reports whether a member of that name may hold a secret, however it is spelled.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"private", "preshared", "psk", "secret", "config"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
