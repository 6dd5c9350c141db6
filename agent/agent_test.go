package agent

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const secret Secret = "a shared secret for tests"

func TestEveryCodeHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	seen := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		require.Contains(t, statuses, Code(code), "%s has no status", spec.Names[0].Name)
		seen++
		return true
	})
	require.Equal(t, len(statuses), seen, "each status belongs to a code")
	require.Equal(t, 500, Code("never heard of").Status())
}

func TestASecretRedactsItself(t *testing.T) {
	text, err := json.Marshal(map[string]any{"secret": secret})
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("secret", secret))
	for _, said := range []string{fmt.Sprint(secret), fmt.Sprintf("%v %s %+v %#v %q", secret, secret, secret, secret, secret), string(text), log.String()} {
		require.NotContains(t, said, string(secret))
		require.Contains(t, said, "(secret)")
	}
}

func TestValidNonce(t *testing.T) {
	for nonce, valid := range map[string]bool{
		NewNonce(): true, strings.Repeat("a", 22): true, strings.Repeat("-_Z9", 21) + "aa": true,
		"": false, strings.Repeat("a", 21): false, strings.Repeat("a", 87): false,
		strings.Repeat("a", 22) + "=": false, strings.Repeat("a", 22) + "+": false, strings.Repeat("a", 21) + "|": false, strings.Repeat("é", 11): false,
	} {
		require.Equal(t, valid, ValidNonce(nonce), "%q", nonce)
	}
	one, two := NewNonce(), NewNonce()
	require.NotEqual(t, one, two)
	require.Regexp(t, `^[0-9a-f]{32}$`, NewID())
	require.Len(t, string(NewSecret()), 44)
}

func TestV1TakesTheDecodedAndTheUndecodedPath(t *testing.T) {
	sign := func(path string) string { return secret.sign("GET", path, "", "1") }
	r := Request{Method: "GET", Target: "/v1/wg/%77g0/dump?a=%7C", Timestamp: "1"}
	require.True(t, secret.VerifyV1(r, sign("/v1/wg/%77g0/dump")))
	require.True(t, secret.VerifyV1(r, sign("/v1/wg/wg0/dump")))
	require.Equal(t, sign("/v1/wg/%77g0/dump"), secret.SignV1(r))
	require.False(t, secret.VerifyV1(r, sign("/v1/wg/wg1/dump")))
	require.False(t, secret.VerifyV1(r, strings.ToUpper(sign("/v1/wg/wg0/dump"))), "lower case only, as the original")
	require.False(t, secret.VerifyV1(r, ""))
	// A decoded bar would let one signature stand for two requests.
	r.Target = "/a%7Cb"
	require.False(t, secret.VerifyV1(r, sign("/a|b")))
}

// Two requests, or two answers, that differ in anything have different signatures.
func TestSignaturesBind(t *testing.T) {
	text := rapid.StringMatching(`[a-zA-Z0-9/?=_-]{0,12}`)
	rapid.Check(t, func(t *rapid.T) {
		request := func(n string) Request {
			return Request{
				Method: rapid.SampledFrom([]string{"GET", "POST"}).Draw(t, n+" method"), Target: text.Draw(t, n+" target"),
				Body: []byte(rapid.StringMatching(`[a-z|]{0,6}`).Draw(t, n+" body")), Timestamp: rapid.StringMatching(`[0-9]{1,3}`).Draw(t, n+" stamp"),
				Nonce: text.Draw(t, n+" nonce"), Node: text.Draw(t, n+" node"),
			}
		}
		a, b := request("a"), request("b")
		require.True(t, secret.VerifyV2(a, secret.SignV2(a)))
		same := a.Method == b.Method && a.Target == b.Target && string(a.Body) == string(b.Body) &&
			a.Timestamp == b.Timestamp && a.Nonce == b.Nonce && a.Node == b.Node
		require.Equal(t, same, secret.VerifyV2(b, secret.SignV2(a)))
		require.False(t, Secret("another").VerifyV2(a, secret.SignV2(a)))
	})
}

func TestAnswersBind(t *testing.T) {
	a := Answer{Status: 200, Nonce: "n", ETag: `"e"`, InterfaceDigest: "d", Body: []byte("body")}
	signature := secret.SignAnswer(a)
	require.True(t, secret.VerifyAnswer(a, signature))
	for name, change := range map[string]func(*Answer){
		"status": func(a *Answer) { a.Status = 304 }, "nonce": func(a *Answer) { a.Nonce = "m" }, "etag": func(a *Answer) { a.ETag = "" },
		"digest": func(a *Answer) { a.InterfaceDigest = "" }, "body": func(a *Answer) { a.Body = nil },
	} {
		b := a
		change(&b)
		require.False(t, secret.VerifyAnswer(b, signature), name)
	}
}
