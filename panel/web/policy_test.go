package web

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/policy"
)

// What a body names is changed, null clears, and what it leaves out stays.
func TestPolicyBody(t *testing.T) {
	h := newHarness(t)
	got := h.do(http.MethodPut, "/api/drift/policy", adminToken, `{
		"mode":"heal","interval":"1h30m","heal":{"missing":false,"prune_foreign":null},"max_delete_percent":null,
		"windows":[{"cron":"0 2 * * 6","duration":"2h","time_zone":"Europe/Berlin"}],"suspended_until":"2026-12-24T12:00:00+01:00"}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	in := h.fake.policy
	require.Equal(t, "heal", *in.Mode.Value)
	require.Equal(t, 90*time.Minute, *in.Interval.Value)
	require.False(t, *in.Missing.Value)
	require.True(t, in.PruneForeign.Set)
	require.Nil(t, in.PruneForeign.Value)
	require.False(t, in.Mismatched.Set)
	require.True(t, in.MaxDeletePercent.Set)
	require.Nil(t, in.MaxDeletePercent.Value)
	require.Equal(t, []policy.Window{{Cron: "0 2 * * 6", Duration: 2 * time.Hour, TimeZone: "Europe/Berlin"}}, *in.Windows.Value)
	require.True(t, in.SuspendedUntil.Value.Equal(time.Date(2026, 12, 24, 11, 0, 0, 0, time.UTC)))

	var data fleetPolicyData
	require.NoError(t, json.Unmarshal(got.Data, &data))
	require.Nil(t, data.Drift.Interval)
	require.Equal(t, "5m", *data.EffectiveDrift.Interval)
	require.Equal(t, "2h", (*data.EffectiveDrift.Windows)[0].Duration)

	require.Equal(t, http.StatusOK, h.do(http.MethodPut, "/api/nodes/n1", adminToken, `{"drift":{"mode":"off","windows":null}}`).Code)
	require.Equal(t, "off", *h.fake.nodeInput.Drift.Mode.Value)
	require.True(t, h.fake.nodeInput.Drift.Windows.Set)
	require.Nil(t, h.fake.nodeInput.Drift.Windows.Value)
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 30 * time.Second: "30s", 5 * time.Minute: "5m", 90 * time.Minute: "1h30m", time.Hour: "1h", 10 * time.Hour: "10h",
		time.Hour + time.Second: "1h0m1s", 20*time.Minute + 10*time.Second: "20m10s",
	} {
		require.Equal(t, want, durationText(d))
		back, err := time.ParseDuration(want)
		require.NoError(t, err)
		require.Equal(t, d, back)
	}
}
