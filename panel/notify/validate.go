package notify

import (
	"encoding/base64"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Limits of a channel, which keep its record small.
const (
	maxName       = 128  // characters
	maxURL        = 2048 // bytes
	maxText       = 320  // bytes of a host, an address, a name or a password
	maxRecipients = 50
	maxRules      = 1000 // entries of one list
)

func (c *Channel) validate(p *problems) {
	c.Name = p.name(c.Name)
	switch c.Kind {
	case Webhook, Slack:
		p.url(string(c.URL))
		if c.Kind == Webhook {
			if _, err := c.Secret.key(); err != nil {
				p.add("secret", "expected whsec_ and base64 of 24 to 64 random bytes; an empty text has one made")
			}
		}
	case Email:
		c.SMTP.validate(p)
	default:
		p.add("kind", "%q is none: expected %s, %s or %s", clip(string(c.Kind), 60), Webhook, Slack, Email)
	}
	if c.Debounce < 0 || c.Debounce > MaxDebounce {
		p.add("debounce", "%s is out of range: expected 0s to 15m", c.Debounce)
	}
	c.Rules.validate(p)
}

func (p *problems) name(s string) string {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		p.add("name", "must not be empty")
	case utf8.RuneCountInString(s) > maxName:
		p.add("name", "is too long: %d characters at most", maxName)
	case !printable(s):
		p.add("name", "holds characters that can't be printed")
	}
	return s
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// url repeats nothing of the text: it may hold a token.
func (p *problems) url(s string) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		p.add("url", "must be given: where are events sent to?")
	case len(s) > maxURL:
		p.add("url", "is too long: %d bytes at most", maxURL)
	case strings.HasSuffix(s, "…"):
		p.add("url", "is the hidden form: leave it out to keep what there is")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !printable(s):
		p.add("url", "expected an http or https address, for example https://hooks.example.com/…")
	case u.User != nil:
		p.add("url", "must not hold a user or a password")
	case u.Fragment != "":
		p.add("url", "must not hold a fragment")
	case !validPort(u.Port()):
		p.add("url", "has a port out of range: expected 1 to 65535")
	}
}

func validPort(s string) bool {
	n, err := strconv.Atoi(s)
	return s == "" || err == nil && n >= 1 && n <= 65535
}

// secretPrefix and the sizes are those of Standard Webhooks.
const (
	secretPrefix = "whsec_"
	minKey       = 24 // bytes
	maxKey       = 64
)

// key is what signs.
func (s Secret) key() ([]byte, error) {
	text, ok := strings.CutPrefix(string(s), secretPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) < minKey || len(b) > maxKey {
		return nil, errSecret
	}
	return b, nil
}

func (s *SMTP) validate(p *problems) {
	if _, err := netip.ParseAddr(s.Host); err != nil && !isDomain(s.Host) {
		p.add("smtp.host", "expected a host name or an address of a mail server")
	}
	if s.Port < 1 || s.Port > 65535 {
		p.add("smtp.port", "%d is out of range: expected 1 to 65535", s.Port)
	}
	if !slices.Contains([]string{StartTLS, TLS, NoTLS}, s.TLS) {
		p.add("smtp.tls", "%q is none: expected %s, %s or %s", clip(s.TLS, 60), StartTLS, TLS, NoTLS)
	}
	if len(s.Username) > maxText || !printable(s.Username) {
		p.add("smtp.username", "expected printable text of %d bytes at most", maxText)
	}
	if len(s.Password) > maxText || strings.ContainsFunc(string(s.Password), unicode.IsControl) {
		p.add("smtp.password", "expected text of %d bytes at most without control characters", maxText)
	}
	switch {
	case s.Password != "" && s.Username == "":
		p.add("smtp.username", "must be given with a password")
	case s.Username != "" && s.TLS == NoTLS:
		p.add("smtp.username", "a login needs TLS: set smtp.tls to %s or %s", StartTLS, TLS)
	}
	s.From = p.address("smtp.from", s.From)
	if len(s.To) == 0 || len(s.To) > maxRecipients {
		p.add("smtp.to", "expected 1 to %d addresses", maxRecipients)
		return
	}
	to := make([]string, len(s.To))
	for i, text := range s.To {
		to[i] = p.address("smtp.to["+strconv.Itoa(i)+"]", text)
	}
	s.To = to
}

// address is an email address in one spelling, a name beside it included.
func (p *problems) address(field, s string) string {
	a, err := mail.ParseAddress(s)
	if err != nil || len(s) > maxText || !printable(s) || !isASCII(a.Address) || !printable(a.Name) || strings.ContainsAny(a.Address, " \"") {
		p.add(field, "expected an address, for example ops@example.com or Operations <ops@example.com>")
		return s
	}
	if a.Name == "" {
		return a.Address
	}
	return a.String()
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

func isDomain(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

func (r *Rules) validate(p *problems) {
	for field, n := range map[string]int{"rules.nodes": len(r.Nodes), "rules.groups": len(r.Groups), "rules.kinds": len(r.Kinds)} {
		if n > maxRules {
			p.add(field, "has %d entries: %d at most", n, maxRules)
		}
	}
	if r.MinSeverity.Rank() == 0 {
		p.add("rules.min_severity", "%q is none: expected %s", clip(string(r.MinSeverity), 60), listed(event.Severities()))
	}
	for _, k := range r.Kinds {
		if !slices.Contains(event.Kinds(), k) {
			p.add("rules.kinds", "%q is none: expected %s", clip(string(k), 60), listed(event.Kinds()))
			break
		}
	}
}

func listed[T ~string](all []T) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = string(v)
	}
	return strings.Join(parts, ", ")
}

// clip keeps a text short, in bytes.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
