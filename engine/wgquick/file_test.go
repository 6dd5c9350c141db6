package wgquick

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const fixtures = "../../testdata/wgquick"

// fixture reads one of the shared configuration files.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtures, name))
	require.NoError(t, err)
	return data
}

func parseFixture(t testing.TB, name string) *File {
	t.Helper()
	f, err := Parse(fixture(t, name))
	require.NoError(t, err)
	f.Name = name
	return f
}

func parseText(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse([]byte(text))
	require.NoError(t, err)
	return f
}

func allFixtures(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(fixtures, "*.conf"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 20)
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	return paths
}

func TestRoundTripIsByteForByte(t *testing.T) {
	for _, name := range allFixtures(t) {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, string(fixture(t, name)), string(parseFixture(t, name).Bytes()))
		})
	}
	for _, text := range []string{"", "\n", "\r\n", "\r", "[", "=", "#", "[Peer]", "\ufeff", "\ufeff\ufeff[Peer]", "x\ry", "\n\n[Peer", "[Peer]\n#\n[Peer]\n#"} {
		require.Equal(t, text, string(parseText(t, text).Bytes()))
	}
}

func TestParseRefusesNUL(t *testing.T) {
	_, err := Parse([]byte("[Interface]\n\x00\n"))
	require.EqualError(t, err, "line 2: expected text without NUL bytes")
}

func TestValues(t *testing.T) {
	f := parseFixture(t, "comments-everywhere.conf")
	require.Equal(t, []string{"10.16.0.1/24", "fd00:16::1/64"}, f.Values("interface", "ADDRESS"))
	port, ok := f.Get("Interface", "ListenPort")
	require.True(t, ok)
	require.Equal(t, "51820", port)
	_, ok = f.Get("Interface", "MTU")
	require.False(t, ok)

	f = parseFixture(t, "unknown-keys.conf")
	require.Equal(t, []string{"4"}, f.Values("Interface", "jc"))
	require.Equal(t, []string{""}, f.Values("Interface", "Foo"))
	require.Equal(t, []string{"blue"}, f.Values("wgfleet", "colour"))

	f = parseFixture(t, "hooks.conf")
	require.Len(t, f.Values("Interface", "PostUp"), 3)
	require.Equal(t, []string{`logger "%i goes down" # tell them`}, f.Values("Interface", "PreDown"))
}

// secrets returns every private and preshared key of a file, and those in its comments.
func secrets(f *File) []string {
	var out []string
	for l := range strings.Lines(string(f.Bytes())) {
		key, rest, _ := strings.Cut(strings.TrimLeft(l, "# \t"), "=")
		if k := lookupKey(trimmed(key)); k.secret() {
			value, _, _ := strings.Cut(rest, "#")
			out = append(out, compact(value))
		}
	}
	return out
}

func TestRedactedHidesSecretsOnly(t *testing.T) {
	found := 0
	for _, name := range allFixtures(t) {
		f := parseFixture(t, name)
		out := string(f.Redacted())
		for _, s := range secrets(f) {
			found++
			require.NotContains(t, out, s, name)
		}
		for key := range f.peers {
			require.Contains(t, out, key.String(), name)
		}
	}
	require.Greater(t, found, 20)

	secret := "yKC4mI3Kq0N2xxnxzP8gQYrvKYbezRmhmJ+wgrg4R3A="
	f := parseText(t, "[Interface]\nPrivateKey = "+secret+" # was "+secret+"\nPostUp = wg set %i private-key <(echo "+secret+
		")\n#PresharedKey=short\nPrivateKey "+secret+"\n[Peer]\nPublicKey = "+secret+" # "+secret+"\n")
	require.Equal(t, "[Interface]\nPrivateKey = (hidden) # was (hidden)\nPostUp = wg set %i private-key <(echo (hidden)"+
		")\n#PresharedKey=(hidden)\nPrivateKey (hidden)\n[Peer]\nPublicKey = "+secret+" # (hidden)\n", string(f.Redacted()))
}

func TestFileDoesNotPrintItself(t *testing.T) {
	f := parseFixture(t, "road-warrior.conf")
	for _, verb := range []string{"%v", "%+v", "%s", "%#v", "%q"} {
		out := fmt.Sprintf(verb, f)
		for _, s := range secrets(f) {
			require.NotContains(t, out, s)
		}
	}
	require.Equal(t, `configuration file "road-warrior.conf" with 1 peers`, f.String())
}

// TestErrorsShowNoSecret puts a secret into every place of a file where an error may come from.
func TestErrorsShowNoSecret(t *testing.T) {
	secret := "yKC4mI3Kq0N2xxnxzP8gQYrvKYbezRmhmJ+wgrg4R3A="
	for _, broken := range []string{secret, secret[:43], secret + "x", "!" + secret} {
		for id := keyAddress; int(id) < len(keyInfos); id++ {
			section := map[section]string{sectionInterface: "[Interface]", sectionPeer: "[Peer]"}[id.info().section]
			for _, l := range []string{id.String() + " = " + broken, id.String() + " " + broken, broken, "Private" + broken, "[" + broken} {
				_, err := ParseStrict([]byte(section + "\n" + l + "\n"))
				if err == nil {
					continue
				}
				require.NotContains(t, err.Error(), secret[:20], l)
				_, ok := errors.AsType[*ParseError](err)
				require.True(t, ok)
			}
			if err := New().SetInterface(id.String(), broken+"\n"+broken); err != nil {
				require.NotContains(t, err.Error(), secret[:20])
			}
		}
	}
}
