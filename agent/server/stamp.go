package server

import (
	"strings"
)

// parseStamp reads X-Timestamp as the original did, with Python's int(): white space around it, a
// sign, underscores between digits and leading zeros pass; more than 4300 digits do not.
func parseStamp(s string) (int64, bool) {
	s = strings.Trim(s, " \t\n\r\v\f")
	negative := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		negative = s[0] == '-'
		s = s[1:]
	}
	var n int64
	digits := 0
	for i := range len(s) {
		c := s[i]
		if c == '_' {
			if i == 0 || i == len(s)-1 || s[i-1] == '_' {
				return 0, false
			}
			continue
		}
		if c < '0' || c > '9' {
			return 0, false
		}
		digits++
		if n > maxStamp { // far beyond any clock: only its being too far off counts
			continue
		}
		n = n*10 + int64(c-'0')
	}
	if digits == 0 || digits > maxStampDigits {
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

const (
	maxStamp       = 1 << 50
	maxStampDigits = 4300 // sys.get_int_max_str_digits()
)
