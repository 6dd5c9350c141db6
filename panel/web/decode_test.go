package web

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/panel"
)

func decoded[T any](t require.TestingT, body string, nullIsAbsent bool) T {
	var v T
	require.NoError(t, decodeBody([]byte(body), &v, nullIsAbsent))
	return v
}

func TestAbsentNullAndValue(t *testing.T) {
	b := decoded[nodeBody](t, `{"override_mtu":null,"override_dns":"8.8.8.8","weight":0}`, false)
	require.Equal(t, optional[int]{Set: true}, b.OverrideMTU)
	require.Equal(t, optional[string]{Set: true, Value: new("8.8.8.8")}, b.OverrideDNS)
	require.Equal(t, optional[int]{}, b.OverrideKeepalive)
	require.Equal(t, new(0), b.Weight, "zero is a value")
	require.Nil(t, b.Name)

	in := toNodeInput(b)
	require.True(t, in.Overrides.MTU.Set)
	require.Nil(t, in.Overrides.MTU.Value)
	require.False(t, in.Overrides.Keepalive.Set)

	require.Nil(t, decoded[nodeBody](t, `{"name":null}`, true).Name, "a creation may send null for what it leaves out")
	require.Error(t, decodeBody([]byte(`{"name":null}`), new(nodeBody), false))
}

func TestPresharedKey(t *testing.T) {
	for body, want := range map[string]panel.Optional[string]{
		`{}`:                       {},
		`{"preshared_key":null}`:   {Set: true},
		`{"preshared_key":""}`:     {Set: true},
		`{"preshared_key":"auto"}`: {Set: true, Value: new("auto")},
	} {
		require.Equal(t, want, toPeerInput(decoded[peerBody](t, body, true)).PresharedKey, body)
	}
}

func TestWishChanges(t *testing.T) {
	w := panel.InterfaceWish{MTU: new(1400), DNS: new("1.1.1.1"), FwMark: new(uint32(9))}
	err := changeWish(&w, decoded[interfaceBody](t, `{"mtu":null,"fwmark":4294967295,"addresses":[],"hooks":{"post_up":["x"]}}`, false))
	require.NoError(t, err)
	require.Nil(t, w.MTU)
	require.Equal(t, "1.1.1.1", *w.DNS)
	require.Equal(t, uint32(4294967295), *w.FwMark)
	require.Empty(t, *w.Addresses)
	require.Equal(t, []string{"x"}, w.Hooks.PostUp)
	err = changeWish(&w, decoded[interfaceBody](t, `{"addresses":null,"hooks":null}`, false))
	require.NoError(t, err)
	require.Nil(t, w.Addresses)
	require.Nil(t, w.Hooks)
}

// What is encoded by any JSON writer is read back, whatever is set.
func TestDecodeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := map[string]any{}
		name := rapid.Ptr(rapid.String(), true).Draw(t, "name")
		if name != nil {
			members["name"] = *name
		}
		mtu := rapid.Ptr(rapid.Int(), true).Draw(t, "mtu")
		setMTU := rapid.Bool().Draw(t, "set mtu")
		if setMTU {
			members["mtu"] = mtu
		}
		ips := rapid.Ptr(rapid.SliceOf(rapid.String()), true).Draw(t, "ips")
		if ips != nil {
			members["allowed_ips"] = *ips
		}
		raw, err := json.Marshal(members)
		require.NoError(t, err)
		b := decoded[peerBody](t, string(raw), false)
		require.Equal(t, name, b.Name)
		require.Equal(t, setMTU, b.MTU.Set)
		if setMTU {
			require.Equal(t, mtu, b.MTU.Value)
		}
		if ips != nil {
			require.Equal(t, append([]string{}, *ips...), append([]string{}, *b.AllowedIPs...))
		}
	})
}

// FuzzDecode: whatever comes is refused as 400 or 422, or every name in it is a field.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"name":"x"}`, `{"name":"x","name":"y"}`, `{"hooks":{"pre_up":["a"]}}`, `{"addresses":[null]}`,
		`{"mtu":null,"dns":"1.1.1.1","listen_port":51820}`, `[]`, `null`, `{"fwmark":4294967296}`, "{\"dns\":\"\xff\"}", `{"":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, into := range []any{new(interfaceBody), new(placedPeerBody), new(nodeBody), new(reconcileBody)} {
			err := decodeBody(data, into, false)
			if err != nil {
				status, e, known := refusal(err)
				require.True(t, known)
				require.Contains(t, []int{400, 422}, status)
				require.NotEmpty(t, e.Message)
				continue
			}
			var plain map[string]any
			require.NoError(t, json.Unmarshal(data, &plain))
			known, err := schemaNames(into)
			require.NoError(t, err)
			for name := range plain {
				require.Contains(t, known, name)
			}
		}
	})
}

// schemaNames are the fields of a body as another library sees them.
func schemaNames(body any) (map[string]bool, error) {
	ref, err := schemaOf(reflect.TypeOf(body).Elem(), ofRequest)
	if err != nil || ref.Value == nil {
		return nil, errors.Join(err, errors.New("no schema"))
	}
	names := map[string]bool{}
	for name := range ref.Value.Properties {
		names[name] = true
	}
	return names, nil
}
