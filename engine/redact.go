package engine

import "regexp"

// Hidden stands where a secret was.
const Hidden = "(hidden)"

// keyText finds what looks like a key in base64 or hex.
var keyText = regexp.MustCompile(`[A-Za-z0-9+/]{43}=|[0-9A-Fa-f]{64}`)

// RedactKeys replaces what looks like a key in text that another program or a person wrote. It
// can't tell public keys from secret ones.
func RedactKeys(s string) string {
	if len(s) < 44 {
		return s
	}
	return keyText.ReplaceAllString(s, Hidden)
}
