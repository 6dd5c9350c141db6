package server

import (
	"context"
	"strconv"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// getConfig is GET config: the host's file.
func (s *Server) getConfig(_ context.Context, q *request) (*answer, error) {
	name := q.route.iface
	if err := engine.ValidateName(name); err != nil {
		return nil, agent.Errorf(agent.CodeUnknownInterface, "unknown %s", err.Error())
	}
	h, err := s.readHostFile(name)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, agent.Errorf(agent.CodeUnknownInterface, "Configuration file not found: %s", s.confPath(name))
	}
	return ok(agent.Config{Interface: name, Config: describeFile(h, s.exposed(q))})
}

// describeFile reads each key by itself, so that one odd value hides no other: what can't be read is
// null, and raw_config has it.
func describeFile(h *hostFile, exposed bool) agent.InterfaceConfig {
	f := h.file
	out := agent.InterfaceConfig{
		ListenPort: intValue(f, "ListenPort"), MTU: intValue(f, "MTU"), Table: lastValue(f, "Table"),
		Address: listValue(f, "Address"), DNS: listValue(f, "DNS"),
		PostUp: lastValue(f, "PostUp"), PreDown: lastValue(f, "PreDown"),
		Hooks: &agent.Hooks{
			PreUp: hookValues(f, "PreUp"), PostUp: hookValues(f, "PostUp"),
			PreDown: hookValues(f, "PreDown"), PostDown: hookValues(f, "PostDown"),
		},
		RawConfig: string(f.Redacted()), Addresses: []string{},
	}
	if text := lastValue(f, "PrivateKey"); text != nil {
		if key, err := engine.ParseSecretKey(*text); err == nil {
			public := key.Clamped().PublicKey().String()
			out.PublicKey = &public
		}
		if exposed {
			out.PrivateKey = text
		}
	}
	if exposed {
		out.RawConfig = string(h.raw)
	} else {
		hideInHooks(&out)
	}
	if i, err := f.Interface(); err == nil {
		out.FwMark, out.Forward, out.Masquerade = i.FwMark, linkNames(i.Forward), linkNames(i.Masquerade)
	}
	for _, v := range f.Values("Interface", "Address") {
		for word := range strings.FieldsFuncSeq(v, func(r rune) bool { return strings.ContainsRune(", \t", r) }) {
			if p, err := engine.ParseAddress(word); err == nil {
				out.Addresses = append(out.Addresses, p.String())
			}
		}
	}
	return out
}

func linkNames(names []string) *string {
	if len(names) == 0 {
		return nil
	}
	return new(strings.Join(names, ", "))
}

func lastValue(f *wgquick.File, key string) *string {
	v, there := f.Get("Interface", key)
	if !there || v == "" {
		return nil
	}
	return &v
}

func intValue(f *wgquick.File, key string) *int {
	text := lastValue(f, key)
	if text == nil {
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(*text))
	if err != nil {
		return nil
	}
	return &n
}

// listValue joins the lines of a key that adds up.
func listValue(f *wgquick.File, key string) *string {
	values := f.Values("Interface", key)
	if len(values) == 0 {
		return nil
	}
	joined := strings.Join(values, ", ")
	return &joined
}

// hideInHooks takes keys out of commands that hold them.
func hideInHooks(c *agent.InterfaceConfig) {
	for _, hooks := range [][]string{c.Hooks.PreUp, c.Hooks.PostUp, c.Hooks.PreDown, c.Hooks.PostDown} {
		for i := range hooks {
			hooks[i] = engine.RedactKeys(hooks[i])
		}
	}
	for _, hook := range []*string{c.PostUp, c.PreDown} {
		if hook != nil {
			*hook = engine.RedactKeys(*hook)
		}
	}
}

func hookValues(f *wgquick.File, key string) []string {
	return append([]string{}, f.Values("Interface", key)...)
}
