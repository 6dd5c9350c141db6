package wgquick

import "strings"

type lineKind uint8

const (
	lineBlank lineKind = iota
	lineComment
	lineDirective // a comment that speaks to wgfleet, with a name and a value
	lineHeader
	linePair // key = value
	lineJunk // text without meaning: kept, refused by ParseStrict
)

// line is one line of a file. text and eol are its bytes; the rest is what they mean.
type line struct {
	text    string
	eol     string // "\n", "\r\n" or, at the end of the file, ""
	kind    lineKind
	section section // of a header
	key     keyID   // of a pair or directive
	v0, v1  int     // text[v0:v1] is the value of these, without space and comment around it
}

func (l *line) value() string { return l.text[l.v0:l.v1] }

// name returns the key of a pair or the text of a header as written, without white space.
func (l *line) name() string {
	code := l.text
	if i := strings.IndexByte(code, '#'); i >= 0 {
		code = code[:i]
	}
	if l.kind == linePair {
		code = code[:strings.IndexByte(code, '=')]
	}
	return compact(code)
}

// scan finds out what a line means.
func scan(text, eol string) line {
	l := line{text: text, eol: eol}
	end := strings.IndexByte(text, '#')
	if end < 0 {
		end = len(text)
	}
	from, to := trim(text, 0, end)
	switch {
	case from == to && end < len(text):
		l.kind = lineComment
		l.scanDirective(end)
	case from == to:
		l.kind = lineBlank
	case text[from] == '[':
		l.kind = lineHeader
		l.section = sectionByName(compact(text[from:to]))
	default:
		l.scanPair(from, to)
	}
	return l
}

func (l *line) scanPair(from, to int) {
	eq := strings.IndexByte(l.text[from:to], '=')
	if eq < 0 {
		l.kind = lineJunk
		return
	}
	eq += from
	l.kind = linePair
	l.key = lookupKey(trimmed(l.text[from:eq]))
	if l.key.info().hook {
		to = len(l.text)
	}
	l.v0, l.v1 = trim(l.text, eq+1, to)
}

// pair makes a new line in canonical form.
func pair(key keyID, value, eol string) line {
	if key.info().ours {
		return scan(key.String()+" "+value, eol)
	}
	return scan(key.String()+" = "+value, eol)
}

// withValue returns the line with another value: the spelling of the key, the spacing and the
// comment behind the value stay.
func (l line) withValue(value string) line {
	if l.v0 == l.v1 && l.kind == lineDirective {
		return scan(l.text[:l.v0]+" "+value+l.text[l.v1:], l.eol)
	}
	if l.v0 == l.v1 { // "Key =" and perhaps a comment: put the value right behind the sign
		eq := strings.IndexByte(l.text, '=') + 1
		rest := l.text[eq:]
		if rest != "" {
			rest = " " + strings.TrimLeft(rest, " \t\v\f\r")
		}
		return scan(l.text[:eq]+" "+value+rest, l.eol)
	}
	return scan(l.text[:l.v0]+value+l.text[l.v1:], l.eol)
}

// splitLines scans data. The lines share its memory.
func splitLines(data string) []line {
	lines := make([]line, 0, strings.Count(data, "\n")+1)
	for data != "" {
		text, eol := data, ""
		if i := strings.IndexByte(data, '\n'); i >= 0 {
			text, eol = data[:i], data[i:i+1]
			if i > 0 && data[i-1] == '\r' {
				text, eol = data[:i-1], data[i-1:i+1]
			}
		}
		data = data[len(text)+len(eol):]
		lines = append(lines, scan(text, eol))
	}
	return lines
}
