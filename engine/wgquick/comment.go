package wgquick

import (
	"bytes"
	"regexp"
	"strings"
)

// Directive is a comment line "# wgfleet: name value".
type Directive struct {
	Line  int // counted from 1
	Name  string
	Value string // may be empty
}

// Directives returns the comment lines that speak to wgfleet, in the order of the file.
func (f *File) Directives() []Directive {
	var out []Directive
	for n, b := range f.blocks() {
		for i := range b.lines {
			if b.lines[i].kind != lineComment {
				continue
			}
			text, ok := strings.CutPrefix(commentText(&b.lines[i]), "wgfleet:")
			if !ok {
				continue
			}
			text = trimmed(text)
			end := strings.IndexAny(text, " \t")
			if end < 0 {
				end = len(text)
			}
			if end > 0 {
				out = append(out, Directive{Line: n + i, Name: text[:end], Value: trimmed(text[end:])})
			}
		}
	}
	return out
}

// commentText returns a comment line without the sign and the space around it.
func commentText(l *line) string {
	return trimmed(strings.TrimLeft(trimmed(l.text), "#"))
}

// hidden stands where a secret was.
const hidden = "(hidden)"

// keyText finds keys in base64 and in hex.
var keyText = regexp.MustCompile(`[A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64}`)

// Redacted prints the file without secrets: the values of PrivateKey and PresharedKey, also in
// lines that are commented out, read "(hidden)", and so does everything else that looks like a key
// and is not the value of a PublicKey.
func (f *File) Redacted() []byte {
	return f.print(func(b *bytes.Buffer, l *line) {
		text := l.text
		if l.kind == lineComment {
			i := strings.IndexByte(text, '#')
			for i < len(text) && (text[i] == '#' || isSpace(text[i])) {
				i++
			}
			b.WriteString(text[:i])
			off := scan(text[i:], "")
			redact(b, &off)
			return
		}
		redact(b, l)
	})
}

func redact(b *bytes.Buffer, l *line) {
	switch {
	case l.kind == linePair && l.key.secret() && l.v0 < l.v1:
		b.WriteString(l.text[:l.v0])
		b.WriteString(hidden)
		b.WriteString(redactKeys(l.text[l.v1:]))
	case l.kind == linePair && l.key == keyPublicKey:
		b.WriteString(l.text[:l.v1])
		b.WriteString(redactKeys(l.text[l.v1:]))
	default:
		b.WriteString(redactKeys(l.text))
	}
}

func redactKeys(s string) string {
	if len(s) < 44 {
		return s
	}
	return keyText.ReplaceAllString(s, hidden)
}
