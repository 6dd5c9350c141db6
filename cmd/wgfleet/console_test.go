package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{nil, "none"},
		{"off", "off"},
		{"a\x1b[31mb", "a[31mb"},
		{51820.0, "51820"},
		{[]any{"10.8.0.2/32", "fd00::2/128"}, "[10.8.0.2/32 fd00::2/128]"},
		{[]string{}, "[]"},
		{map[string]any{"post_up": []any{"id"}, "pre_up": nil}, `{"post_up":["id"],"pre_up":null}`},
	} {
		require.Equal(t, c.want, plain(c.value))
	}
}
