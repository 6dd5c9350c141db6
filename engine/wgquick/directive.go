package wgquick

import (
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
)

// AnyLink stands for every link in Interface.Forward and Interface.Masquerade.
const AnyLink = "any"

const (
	directiveSign = "wgfleet"
	wantDirective = "forward, masquerade, resolver, publish, allow, deny or limit"
	wantLinked    = "forward or masquerade"
	wantAnyPlace  = "this directive in the [Interface] or a [Peer] section"
	wantPlace     = "this directive in the [Interface] section"
	wantLinks     = "any, or names of links separated by commas, such as eth0, eth1"
)

// scanDirective finds "wgfleet: name value" behind the sign of a comment. With one more sign in
// front of it the line is a comment like any other, and a sign behind it begins one.
func (l *line) scanDirective(sign int) {
	from, to := trim(l.text, sign+1, len(l.text))
	if !strings.HasPrefix(fold(l.text[from:to]), directiveSign) {
		return
	}
	from, to = trim(l.text, from+len(directiveSign), to)
	if from == to || l.text[from] != ':' {
		return
	}
	if i := strings.IndexByte(l.text[from:to], '#'); i >= 0 {
		to = from + i
	}
	from, to = trim(l.text, from+1, to)
	end := from
	for end < to && !isSpace(l.text[end]) {
		end++
	}
	l.kind = lineDirective
	l.key = lookupDirective(l.text[from:end])
	l.v0, l.v1 = trim(l.text, end, to)
}

// lookupDirective returns keyDirective for a name that is none.
func lookupDirective(name string) keyID {
	switch fold(name) {
	case "forward":
		return keyForward
	case "masquerade":
		return keyMasquerade
	case "resolver":
		return keyResolver
	case "publish":
		return keyPublish
	case "allow":
		return keyAllow
	case "deny":
		return keyDeny
	case "limit":
		return keyLimit
	}
	return keyDirective
}

// linked reports whether the values of a directive are links.
func (k keyID) linked() bool { return k == keyForward || k == keyMasquerade }

// SetDirective gives a directive of [Interface], "forward" or "masquerade", this value: AnyLink, or
// names of links separated by commas; "" takes its lines away. It edits as SetInterface does.
func (f *File) SetDirective(name, value string) error {
	id := lookupDirective(name)
	if !id.linked() {
		return &ParseError{Key: keyDirective.String(), Want: wantLinked, Got: showable(name)}
	}
	return f.set(id, []string{value})
}

// ParseLinks reads the value of a directive: {AnyLink} where it says so or is empty. The error is a
// *ParseError.
func ParseLinks(value string) ([]string, error) {
	value = trimmed(value)
	if err := injected(keyForward, value); err != nil {
		return nil, err
	}
	links, err := parseLinks(value)
	if err != nil {
		return nil, err
	}
	return links, nil
}

func parseLinks(value string) ([]string, *ParseError) {
	if value == "" {
		return []string{AnyLink}, nil
	}
	names := words(value)
	if len(names) == 0 {
		return nil, want(wantLinks, value)
	}
	for _, name := range names {
		if engine.ValidateName(name) != nil {
			return nil, want(wantLinks, name)
		}
	}
	return joinLinks(nil, names), nil
}

// joinLinks adds names to a list that it does not change. AnyLink takes in all the others.
func joinLinks(have, more []string) []string {
	all := slices.Concat(have, more)
	if slices.Contains(all, AnyLink) {
		return []string{AnyLink}
	}
	out := all[:0]
	for _, name := range all {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (i *Interface) readDirective(l *line, in section) *ParseError {
	switch {
	case l.key == keyDirective:
		_, text, _ := strings.Cut(l.text, ":")
		name, _, _ := strings.Cut(trimmed(text), " ")
		return want(wantDirective, name)
	case l.key.info().section == sectionInterface && in != sectionInterface:
		return want(wantPlace, "")
	case in != sectionInterface && in != sectionPeer:
		return want(wantAnyPlace, "")
	case l.key.linked():
		return i.readLinks(l.key, l.value())
	}
	return readGateway(new(engine.GatewayConfig), new(engine.Access), l.key, l.value())
}

func (i *Interface) readLinks(key keyID, value string) *ParseError {
	names, err := parseLinks(value)
	if err != nil {
		return err
	}
	list := i.links(key)
	*list = joinLinks(*list, names)
	return nil
}

func (i *Interface) links(key keyID) *[]string {
	if key == keyForward {
		return &i.Forward
	}
	return &i.Masquerade
}

// linksOf is meaning for a directive, whose lines add up and mean something without a value.
func linksOf(id keyID, places []place) ([]string, bool) {
	var i Interface
	for _, p := range places {
		if i.readLinks(id, p.line().value()) != nil {
			return nil, false
		}
	}
	return *i.links(id), true
}
