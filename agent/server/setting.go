package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// setting is one field of PUT config: a key of the file and its new values, none to clear it.
type setting struct {
	field  string // as in the body, "hooks.post_up" for a list of hooks
	key    string // of the file; "" for a directive, which is named as its field
	values []string
}

func (set setting) write(f *wgquick.File) error {
	if set.key == "" {
		return f.SetDirective(set.field, strings.Join(set.values, ","))
	}
	return f.SetInterface(set.key, set.values...)
}

// unchanged reports whether a hook's setting says what the file says already. The original's fields
// hold one hook, the last of its key: what GET shows can be changed elsewhere and written back.
func (set setting) unchanged(have []string) bool {
	if (set.field == "post_up" || set.field == "pre_down") && len(have) > 0 {
		have = have[len(have)-1:]
	}
	return slices.Equal(have, set.values)
}

// decodeConfig reads the fields that are given.
func decodeConfig(q *request) (*object, []setting, error) {
	o, err := decodeBody(q)
	if err != nil {
		return nil, nil, err
	}
	var out []setting
	for _, f := range []struct{ field, key string }{
		{"private_key", "PrivateKey"},
		{"address", "Address"},
		{"dns", "DNS"},
		{"table", "Table"},
		{"post_up", "PostUp"},
		{"pre_down", "PreDown"},
		{"forward", ""},
		{"masquerade", ""},
	} {
		if text := o.text(f.field, true); text != nil {
			out = append(out, setting{f.field, f.key, nonEmpty([]string{*text})})
		}
	}
	for _, f := range []struct {
		field, key string
		largest    int
	}{{"listen_port", "ListenPort", 65535}, {"mtu", "MTU", engine.MaxMTU}, {"fwmark", "FwMark", 1<<32 - 1}} {
		if n := o.integerOrEmpty(f.field); n != nil {
			if *n < 0 || *n > f.largest {
				o.problem("value_error", o.at(f.field), fmt.Sprintf("expected 0 to %d", f.largest), echo(f.field, o.members[f.field]))
			}
			out = append(out, setting{f.field, f.key, nonEmpty([]string{number(*n)})})
		}
	}
	out = append(out, decodeHooks(o)...)
	for _, set := range out {
		checkSetting(o, set)
	}
	return o, out, o.err()
}

// decodeHooks reads the lists of hooks that are given.
func decodeHooks(o *object) []setting {
	raw, given := o.given("hooks", true)
	lists := &object{loc: o.at("hooks"), problems: o.problems}
	if !given || !lists.fill(raw) {
		return nil
	}
	var out []setting
	for _, f := range []struct{ field, key string }{
		{"pre_up", "PreUp"}, {"post_up", "PostUp"}, {"pre_down", "PreDown"}, {"post_down", "PostDown"},
	} {
		values := lists.texts(f.field, true)
		if values == nil {
			continue
		}
		if _, twice := o.given(f.field, true); twice {
			o.problem("value_error", o.at(f.field), "give this hook or the whole list in hooks, not both", nil)
		}
		out = append(out, setting{"hooks." + f.field, f.key, nonEmpty(*values)})
	}
	return out
}

func nonEmpty(values []string) []string {
	return slices.DeleteFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" })
}

// integerOrEmpty reads a number; "" clears it.
func (o *object) integerOrEmpty(field string) *int {
	if string(o.members[field]) == `""` {
		return new(int)
	}
	return o.integer(field, true)
}

// checkSetting refuses values that are no value of their key.
func checkSetting(o *object, set setting) {
	loc := o.at(set.field)
	if list, isHook := strings.CutPrefix(set.field, "hooks."); isHook {
		loc = o.at("hooks", list)
	}
	switch {
	case slices.ContainsFunc(set.values, func(v string) bool { return strings.Contains(v, agent.Hidden) }):
		o.problem("value_error", loc, "(hidden) stands for a secret that is not shown: leave the field out to keep it", nil)
	case set.field == "private_key" && len(set.values) == 0:
		o.problem("value_error", loc, "an interface can't be without a private key", nil)
	default:
		if err := set.write(wgquick.New()); err != nil {
			o.problem("value_error", loc, err.Error(), echo(set.field, o.members[set.field]))
		}
	}
}

// allowHooks applies the policy to the hooks that would change. A command is local only where it
// stands: what is right before the interface comes up may do harm after it went down.
func (s *Server) allowHooks(have wgquick.Interface, settings []setting) error {
	if s.o.Hooks == HooksAllow {
		return nil
	}
	for _, set := range settings {
		present, hook := hooksOf(have, set.key)
		if !hook || set.unchanged(present) {
			continue
		}
		foreign := func(v string) bool { return !slices.Contains(present, v) }
		if s.o.Hooks == HooksLocal && !slices.ContainsFunc(set.values, foreign) {
			continue
		}
		return agent.Errorf(agent.CodeHookRefused,
			"%s: this host does not take hooks from the network: write it into its file there, or set WG_AGENT_HOOKS", set.field)
	}
	return nil
}

// hooksOf returns the hooks under a key of the file; false for a key of another kind.
func hooksOf(i wgquick.Interface, key string) ([]string, bool) {
	switch key {
	case "PreUp":
		return i.PreUp, true
	case "PostUp":
		return i.PostUp, true
	case "PreDown":
		return i.PreDown, true
	case "PostDown":
		return i.PostDown, true
	}
	return nil, false
}
