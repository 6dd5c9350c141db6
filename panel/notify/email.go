package notify

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// composeMail is one plain text (RFC 5322, 2045). The Message-ID is the delivery's: who gets it twice sees one.
func composeMail(c Channel, id string, at time.Time, p payload) ([]byte, error) {
	from, err := mail.ParseAddress(c.SMTP.From)
	if err != nil {
		return nil, fmt.Errorf("smtp.from: %w", err)
	}
	to := make([]string, len(c.SMTP.To))
	for i, text := range c.SMTP.To {
		a, err := mail.ParseAddress(text)
		if err != nil {
			return nil, fmt.Errorf("smtp.to[%d]: %w", i, err)
		}
		to[i] = a.String()
	}
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()},
		{"To", strings.Join(to, ",\r\n ")},
		{"Subject", mime.QEncoding.Encode("utf-8", clean(p.Subject))},
		{"Date", at.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + id + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: no holiday replies
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	if _, err := w.Write([]byte(strings.ReplaceAll(p.Body, "\n", "\r\n"))); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}
