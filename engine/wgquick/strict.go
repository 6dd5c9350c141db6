package wgquick

import "errors"

// ParseStrict reads the input of "wg setconf" and "wg syncconf": only the sections and keys of
// wg(8), each with a value that it takes. The first line that it would refuse is the error, a
// *ParseError; so is a directive that Interface refuses.
func ParseStrict(data []byte) (*File, error) {
	f, err := Parse(data)
	if err != nil {
		return nil, err
	}
	first := f.unrecognized((*line).unrecognized)
	_, interfaceErr := f.Interface()
	_, peersErr := f.Peers()
	for _, err := range []error{interfaceErr, peersErr} {
		if e, ok := errors.AsType[*ParseError](err); ok && (first == nil || e.Line < first.Line) {
			first = e
		}
	}
	if first != nil {
		return nil, first
	}
	return f, nil
}

// Recognized refuses the first line that wg-quick(8) up would stop at: what neither it nor wg(8)
// knows, in its section. A key that is misspelled would else be silently without effect. The error is
// a *ParseError.
func (f *File) Recognized() error {
	if err := f.unrecognized((*line).unrecognizedInFile); err != nil {
		return err
	}
	return nil
}

// unrecognized finds the first line of which what tells what should stand in its place.
func (f *File) unrecognized(what func(l *line, in section) string) *ParseError {
	if f.bom {
		return &ParseError{File: f.Name, Line: 1, Want: "no byte-order mark"}
	}
	for n, b := range f.blocks() {
		for i := range b.lines {
			l := &b.lines[i]
			if want := what(l, b.section); want != "" {
				e := &ParseError{File: f.Name, Line: n + i, Want: want}
				if l.kind == linePair {
					e.Key = safeName(l.name())
				}
				return e
			}
		}
	}
	return nil
}

// unrecognized returns what wg(8) expects in the line's place, or "" where it is content.
func (l *line) unrecognized(in section) string {
	switch l.kind {
	case lineBlank, lineComment, lineDirective:
		return ""
	case lineHeader:
		if l.section == sectionOther {
			return "[Interface] or [Peer]"
		}
		return ""
	case linePair:
		if l.key != keyUnknown && l.key.info().wg && l.key.info().section == in {
			return ""
		}
	}
	switch in {
	case sectionInterface:
		return "PrivateKey, ListenPort or FwMark = value in [Interface]"
	case sectionPeer:
		return "PublicKey, PresharedKey, AllowedIPs, Endpoint or PersistentKeepalive = value in [Peer]"
	}
	return "[Interface] or [Peer] before anything else"
}

// unrecognizedInFile is unrecognized for a file of wg-quick(8), which has keys of its own.
func (l *line) unrecognizedInFile(in section) string {
	if l.kind == linePair && l.key != keyUnknown && l.key.info().section == in {
		return ""
	}
	what := l.unrecognized(in)
	if what != "" && in == sectionInterface && l.kind != lineHeader {
		return "a key of wg-quick(8) for [Interface], such as Address, MTU or PostUp"
	}
	return what
}
