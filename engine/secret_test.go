package engine_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func TestSecretsDoNotPrint(t *testing.T) {
	s := enginetest.PrivateKey(t)
	k := s.Reveal()
	peer := engine.Peer{PublicKey: enginetest.PeerKey(0), PresharedKey: s}
	mac := engine.DeriveMACKey(k[:])
	var out bytes.Buffer
	for _, v := range []any{s, &s, peer, &peer, []engine.Peer{peer}, engine.Interface{PrivateKey: s}, map[string]any{"k": s}, mac} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		_, err := json.Marshal(v)
		if _, hasSecret := v.(engine.MACKey); !hasSecret {
			require.Error(t, err, "%T", v)
		}
	}
	text := out.String()
	require.Contains(t, text, "(secret)")
	require.NotContains(t, text, k.String())
	require.NotContains(t, text, hex.EncodeToString(k[:]))
	require.NotContains(t, text, fmt.Sprintf("%d %d %d", k[0], k[1], k[2]))
	require.NotContains(t, text, hex.EncodeToString(mac[:]))
	require.Equal(t, "(none)", engine.SecretKey{}.String())
}

func TestSecretKey(t *testing.T) {
	s, err := engine.ParseSecretKey(aKey)
	require.NoError(t, err)
	require.Equal(t, aKey, s.Reveal().String())
	_, err = engine.ParseSecretKey("not my secret")
	require.ErrorContains(t, err, "44 characters")
	require.NotContains(t, err.Error(), "not my secret")
	require.True(t, engine.SecretKey{}.IsZero())
	require.Zero(t, engine.SecretKey{}.PublicKey())
	require.True(t, engine.SecretKey{}.Clamped().IsZero())
	k := enginetest.PrivateKey(t)
	require.True(t, k.Equal(k.Clamped()), "a generated key is clamped")
}
