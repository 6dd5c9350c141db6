package engine

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	noneWord   = "none"
	wantLimits = "connections=, rate= (new ones a second) and bandwidth= (bytes a second, such as 10M), each a number or none"
	maxLimit   = 1e12 // of any kind; who wants more wants none
)

// byteUnits are decimal, as those of links are.
var byteUnits = []struct {
	letter string
	size   int64
}{{"G", 1e9}, {"M", 1e6}, {"K", 1e3}}

// ParseLimits reads what String prints: "connections=100 rate=10 bandwidth=10M". Errors: *FieldError.
func ParseLimits(text string) (Limits, error) {
	var l Limits
	words := strings.Fields(text)
	if len(words) == 0 {
		return l, limitError(text)
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		n, ok := parseLimit(value, name == "bandwidth")
		switch {
		case !ok:
			return Limits{}, limitError(word)
		case name == "connections" && l.Connections == 0:
			l.Connections = int(n)
		case name == "rate" && l.Rate == 0 && n < 1e6:
			l.Rate = int(n)
		case name == "bandwidth" && l.Bandwidth == 0:
			l.Bandwidth = n
		default:
			return Limits{}, limitError(word)
		}
	}
	return l, nil
}

func limitError(word string) error {
	return &FieldError{Field: "limit", Reason: fmt.Sprintf("%.40q is not one: expected %s", word, wantLimits)}
}

// ParseBytes reads a number of bytes, such as 512M, or none, which is NoLimit. Errors: *FieldError.
func ParseBytes(text string) (int64, error) {
	n, ok := parseLimit(text, true)
	if !ok {
		return 0, &FieldError{Field: "bytes", Reason: fmt.Sprintf("%.40q is no number of them: expected one such as 512M, or none", text)}
	}
	return n, nil
}

func parseLimit(text string, bytes bool) (int64, bool) {
	if text == noneWord {
		return NoLimit, true
	}
	size := int64(1)
	for _, u := range byteUnits {
		if digits, is := strings.CutSuffix(text, u.letter); is && bytes {
			text, size = digits, u.size
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 48)
	if err != nil || n == 0 || float64(n)*float64(size) > maxLimit {
		return 0, false
	}
	return int64(n) * size, true
}

// String is what ParseLimits reads; "" where they say nothing.
func (l Limits) String() string {
	var out []string
	add := func(name string, n int64, unit string) {
		switch {
		case n < 0:
			out = append(out, name+"="+noneWord)
		case n > 0:
			out = append(out, fmt.Sprintf("%s=%d%s", name, n, unit))
		}
	}
	add("connections", int64(l.Connections), "")
	add("rate", int64(l.Rate), "")
	bandwidth, unit := l.Bandwidth, ""
	for _, u := range byteUnits {
		if bandwidth > 0 && bandwidth%u.size == 0 {
			bandwidth, unit = bandwidth/u.size, u.letter
			break
		}
	}
	add("bandwidth", bandwidth, unit)
	return strings.Join(out, " ")
}
