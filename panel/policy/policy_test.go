package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMergeGivesWhatIsGiven(t *testing.T) {
	require.Equal(t, Default(), Default().Merge(Input{}))
	soon := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	windows := []Window{{"0 2 * * *", time.Hour, "UTC"}}
	got := Default().Merge(Input{
		Mode: new(Heal), Interval: new(time.Minute), Missing: new(false), Mismatched: new(false), PruneOrphaned: new(true),
		PruneForeign: new(true), Interface: new(true), MaxDeletePercent: new(0), Windows: &windows, SuspendedUntil: &soon,
	})
	require.Equal(t, Policy{
		Mode: Heal, Interval: time.Minute, Heal: Healing{PruneOrphaned: true, PruneForeign: true, Interface: true},
		Windows: windows, SuspendedUntil: soon,
	}, got)
	require.Empty(t, got.Merge(Input{Windows: &[]Window{}}).Windows, "an empty list is given, too")
}

// A node's suspension that is over does not end that of the fleet.
func TestLaterSuspensionHolds(t *testing.T) {
	early, late := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct{ fleet, node time.Time }{{early, late}, {late, early}} {
		p := Default()
		p.SuspendedUntil = tt.fleet
		require.Equal(t, late, p.Merge(Input{SuspendedUntil: &tt.node}).SuspendedUntil)
	}
}

func TestNextCheckIsWithinAFifth(t *testing.T) {
	p := Policy{Interval: 100 * time.Second}
	for random, want := range map[float64]time.Duration{0: 80 * time.Second, 0.5: 100 * time.Second, 1: 120 * time.Second} {
		require.InDelta(t, want, p.NextCheck(func() float64 { return random }), float64(time.Millisecond))
	}
}

func TestValidate(t *testing.T) {
	window := func(w Window) Input { return Input{Windows: &[]Window{w}} }
	for _, tt := range []struct {
		name string
		in   Input
		want string // field: part of the sentence; "" for none
	}{
		{"nothing", Input{}, ""},
		{"all at their limits", Input{Mode: new(Off), Interval: new(MinInterval), MaxDeletePercent: new(100), Windows: &[]Window{{"0 2 * * *", MaxWindow, "UTC"}}}, ""},
		{"mode", Input{Mode: new(Mode("fix"))}, `mode: "fix" is no mode: expected off, report or heal`},
		{"interval too short", Input{Interval: new(9 * time.Second)}, "interval: 9s is out of range: expected 10s to 24h"},
		{"interval too long", Input{Interval: new(MaxInterval + 1)}, "interval: "},
		{"percent below", Input{MaxDeletePercent: new(-1)}, "max_delete_percent: -1 is out of range"},
		{"percent above", Input{MaxDeletePercent: new(101)}, "max_delete_percent: 101"},
		{"no cron", window(Window{"", time.Hour, "UTC"}), `windows[0].cron: "" is no cron expression`},
		{"four fields", window(Window{"0 2 * *", time.Hour, "UTC"}), "windows[0].cron: "},
		{"six fields", window(Window{"0 0 2 * * *", time.Hour, "UTC"}), "windows[0].cron: "},
		{"a zone within", window(Window{"TZ=UTC 0 2 * *", time.Hour, "UTC"}), "windows[0].cron: "},
		{"a zone beside", window(Window{"CRON_TZ=UTC 0 2 * * *", time.Hour, "UTC"}), "windows[0].cron: "},
		{"a name", window(Window{"@daily", time.Hour, "UTC"}), "windows[0].cron: "},
		{"an hour that is none", window(Window{"0 24 * * *", time.Hour, "UTC"}), "windows[0].cron: "},
		{"a step of none", window(Window{"*/0 * * * *", time.Hour, "UTC"}), "windows[0].cron: "},
		{"never", window(Window{"0 0 30 2 *", time.Hour, "UTC"}), "windows[0].cron: \"0 0 30 2 *\" names a day that never comes"},
		{"too short", window(Window{"0 2 * * *", 59 * time.Second, "UTC"}), "windows[0].duration: 59s is out of range: expected 1m to 168h"},
		{"too long", window(Window{"0 2 * * *", MaxWindow + 1, "UTC"}), "windows[0].duration: "},
		{"no zone of the world", window(Window{"0 2 * * *", time.Hour, "Mars/Olympus"}), `windows[0].time_zone: "Mars/Olympus" is no time zone`},
		{"the host's own zone", window(Window{"0 2 * * *", time.Hour, "Local"}), "windows[0].time_zone: "},
		{"a path", window(Window{"0 2 * * *", time.Hour, "../../etc/passwd"}), "windows[0].time_zone: "},
		{"too many windows", Input{Windows: new(make([]Window, MaxWindows+1))}, "windows: has 33 entries: 32 at most"},
		{"the second one", Input{Windows: &[]Window{{"0 2 * * *", time.Hour, "UTC"}, {"0 2 * * *", 0, "UTC"}}}, "windows[1].duration: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, bad := tt.in.Validate()
			if tt.want == "" {
				require.Empty(t, bad)
				return
			}
			require.Len(t, bad, 1)
			require.Contains(t, bad[0].Field+": "+bad[0].Error, tt.want)
		})
	}
}

func TestValidateGivesOneSpelling(t *testing.T) {
	given := []Window{{" 0  2 * * sat ", time.Hour, ""}}
	in, bad := Input{Windows: &given, SuspendedUntil: new(time.Date(2026, 7, 1, 2, 0, 0, 5, time.FixedZone("east", 7200)))}.Validate()
	require.Empty(t, bad)
	require.Equal(t, []Window{{"0 2 * * sat", time.Hour, "UTC"}}, *in.Windows)
	require.Equal(t, time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC), *in.SuspendedUntil)
	require.Equal(t, " 0  2 * * sat ", given[0].Cron, "the caller's list is its own")
}

func FuzzValidate(f *testing.F) {
	for _, s := range []string{"0 2 * * *", "TZ=0", "TZ=TZ=TZ= 1 1 1 1", "*/5 0-23 1,2 jan-dec ?", "@every 1h", "0 0 31 2 *", "9223372036854775807 * * * *"} {
		f.Add(s, "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, cron, zone string) {
		in, bad := Input{Windows: &[]Window{{cron, time.Hour, zone}}}.Validate()
		for _, p := range bad {
			require.NotEmpty(t, p.Error)
			require.Less(t, len(p.Error), 400)
			require.True(t, strings.HasPrefix(p.Field, "windows[0]."))
		}
		if len(bad) == 0 {
			open, next := Policy{Windows: *in.Windows}.Open(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
			require.NotEqual(t, open, next.After(time.Time{}), "it is open, or will be")
			_, again := in.Validate()
			require.Empty(t, again)
		}
	})
}
