package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return v
}

func TestOpen(t *testing.T) {
	daily := func(zone string, d time.Duration) []Window {
		return []Window{{Cron: "30 2 * * *", Duration: d, TimeZone: zone}}
	}
	for _, tt := range []struct {
		name    string
		windows []Window
		now     string
		open    bool
		next    string // "" for none
	}{
		{"no windows", nil, "2026-07-01T12:00:00Z", true, ""},
		{"before", daily("Europe/Berlin", time.Hour), "2026-07-01T00:29:59Z", false, "2026-07-01T00:30:00Z"},
		{"at its beginning", daily("Europe/Berlin", time.Hour), "2026-07-01T00:30:00Z", true, ""},
		{"last second", daily("Europe/Berlin", time.Hour), "2026-07-01T01:29:59Z", true, ""},
		{"at its end", daily("Europe/Berlin", time.Hour), "2026-07-01T01:30:00Z", false, "2026-07-02T00:30:00Z"},
		{"winter is an hour later", daily("Europe/Berlin", time.Hour), "2026-01-01T00:30:00Z", false, "2026-01-01T01:30:00Z"},
		{
			"across midnight",
			[]Window{{Cron: "0 22 * * 5", Duration: 10 * time.Hour, TimeZone: "UTC"}},
			"2026-07-04T07:59:00Z", true, "",
		},
		{
			"the earliest of two",
			[]Window{{"0 12 * * *", time.Hour, "UTC"}, {"0 10 * * *", time.Hour, "UTC"}},
			"2026-07-04T07:00:00Z", false, "2026-07-04T10:00:00Z",
		},
		{"either day is enough", []Window{{"0 0 13 * 5", time.Hour, "UTC"}}, "2026-07-01T00:00:00Z", false, "2026-07-03T00:00:00Z"},
		{"starts that overlap", []Window{{"* * * * *", 7 * 24 * time.Hour, "Europe/Berlin"}}, "2026-10-25T02:30:00Z", true, ""},
		{"one that comes in years", []Window{{"0 0 29 2 *", time.Hour, "UTC"}}, "2026-07-01T00:00:00Z", false, "2028-02-29T00:00:00Z"},
		{"a zone that is gone", []Window{{"* * * * *", time.Hour, "Mars/Olympus"}}, "2026-07-01T00:00:00Z", false, ""},
		{"no cron", []Window{{"nonsense", time.Hour, "UTC"}}, "2026-07-01T00:00:00Z", false, ""},

		// Clocks go from 02:00 to 03:00 at 01:00Z: there is no 02:30, and the window opens at once.
		{"put forward", daily("Europe/Berlin", time.Hour), "2026-03-29T00:59:59Z", false, "2026-03-29T01:00:00Z"},
		{"put forward, open", daily("Europe/Berlin", time.Hour), "2026-03-29T01:59:59Z", true, ""},
		{"put forward, over", daily("Europe/Berlin", time.Hour), "2026-03-29T02:00:00Z", false, "2026-03-30T00:30:00Z"},
		{"half an hour forward", []Window{{"15 2 * * *", time.Hour, "Australia/Lord_Howe"}}, "2026-10-03T15:29:59Z", false, "2026-10-03T15:30:00Z"},
		{"midnight is skipped", []Window{{"0 0 * * *", time.Hour, "America/Santiago"}}, "2026-09-06T03:59:59Z", false, "2026-09-06T04:00:00Z"},
		{"a day is skipped", []Window{{"0 12 30 12 *", time.Hour, "Pacific/Apia"}}, "2011-12-30T09:00:00Z", false, "2011-12-30T10:00:00Z"},
		// Clocks go from 03:00 to 02:00 at 01:00Z: 02:30 comes twice, the window once.
		{"put back", daily("Europe/Berlin", 20*time.Minute), "2026-10-25T00:30:00Z", true, ""},
		{"put back, not again", daily("Europe/Berlin", 20*time.Minute), "2026-10-25T01:35:00Z", false, "2026-10-26T01:30:00Z"},
		{"put back, elapsed time counts", daily("Europe/Berlin", 2*time.Hour), "2026-10-25T02:29:59Z", true, ""},
		{"put back, over", daily("Europe/Berlin", 2*time.Hour), "2026-10-25T02:30:00Z", false, "2026-10-26T01:30:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			open, next := Policy{Windows: tt.windows}.Open(at(t, tt.now))
			require.Equal(t, tt.open, open)
			want := time.Time{}
			if tt.next != "" {
				want = at(t, tt.next)
			}
			require.Equal(t, want, next)
		})
	}
}

// A daily window opens once on each day of any zone, whatever its clocks do; it is open from the moment
// that was announced, and not before.
func TestDailyWindowOpensOnceADay(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		zone := rapid.SampledFrom([]string{
			"Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "Asia/Tehran", "Africa/Casablanca", "UTC",
		}).Draw(r, "zone")
		hour := rapid.IntRange(0, 23).Draw(r, "hour")
		minute := rapid.IntRange(0, 59).Draw(r, "minute")
		w := Window{Cron: time.Date(0, 1, 1, hour, minute, 0, 0, time.UTC).Format("4 15") + " * * *", Duration: 30 * time.Minute, TimeZone: zone}
		loc, err := location(zone)
		require.NoError(r, err)
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, loc).AddDate(0, 0, rapid.IntRange(0, 700).Draw(r, "day"))
		p := Policy{Windows: []Window{w}}
		if open, _ := p.Open(now); open {
			now = now.Add(w.Duration)
		}
		last := time.Time{} // the day of the opening before
		for range 10 {
			open, next := p.Open(now)
			require.False(r, open)
			require.True(r, next.After(now))
			before, again := p.Open(next.Add(-time.Second))
			require.False(r, before)
			require.Equal(r, next, again)
			open, _ = p.Open(next)
			require.True(r, open)
			day := wallOf(next, loc).Truncate(24 * time.Hour)
			if !last.IsZero() {
				require.Equal(r, last.AddDate(0, 0, 1), day, "each day once")
			}
			last, now = day, next.Add(w.Duration)
		}
	})
}

func BenchmarkOpenWorst(b *testing.B) {
	p := Policy{Windows: []Window{{"* * * * *", time.Minute, "Europe/Berlin"}, {"0 0 29 2 *", time.Hour, "UTC"}}}
	now := time.Date(2026, 7, 1, 0, 0, 30, 0, time.UTC)
	for b.Loop() {
		p.Open(now)
	}
}
