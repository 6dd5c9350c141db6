package wgquick

import (
	"bytes"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
)

// commentText returns a comment line without the sign and the space around it.
func commentText(l *line) string {
	return trimmed(strings.TrimLeft(trimmed(l.text), "#"))
}

// Redacted prints the file without secrets: the values of PrivateKey and PresharedKey, also in
// lines that are commented out, read "(hidden)", and so does everything else that looks like a key
// and is not the value of a PublicKey.
func (f *File) Redacted() []byte {
	return f.print(func(b *bytes.Buffer, l *line) {
		text := l.text
		if l.kind == lineComment || l.kind == lineDirective {
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
		b.WriteString(engine.Hidden)
		b.WriteString(engine.RedactKeys(l.text[l.v1:]))
	case l.kind == linePair && l.key == keyPublicKey:
		b.WriteString(l.text[:l.v1])
		b.WriteString(engine.RedactKeys(l.text[l.v1:]))
	default:
		b.WriteString(engine.RedactKeys(l.text))
	}
}
